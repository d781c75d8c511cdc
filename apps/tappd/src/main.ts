import "./memory.js";
import { Command } from "commander";
import { inheritedSockets, loadConfig, runDaemon } from "@dstack/daemon";
import { TappdConfig } from "./config.js";
import { startTappd } from "./service.js";
import { VERSION } from "./version.js";

const program = new Command("tappd")
  .description("Guest agent: keys, quotes and information for the containers of a confidential VM.")
  .requiredOption("-c, --config <file>", "configuration file (TOML)")
  .version(VERSION, "-V, --version")
  .parse();

const { config } = program.opts<{ config: string }>();
void runDaemon("tappd", async () =>
  startTappd(await loadConfig(TappdConfig, { path: config }), { inherited: inheritedSockets() }),
);
