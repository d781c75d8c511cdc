import { Command } from "commander";
import { inheritedSockets, loadConfig, runDaemon } from "@dstack/daemon";
import { TappdConfig } from "./config.js";
import { startTappd } from "./service.js";
import { VERSION } from "./version.js";
import { waitForFile } from "./wait-for-file.js";

const program = new Command("tappd")
  .description("Guest agent: keys, quotes and information for the containers of a confidential VM.")
  .requiredOption("-c, --config <file>", "configuration file (TOML)")
  .option("--wait", "wait for the configuration file to appear: the program is loaded by the time it does")
  .version(VERSION, "-V, --version")
  .parse();

const { config, wait } = program.opts<{ config: string; wait?: true }>();
void runDaemon("tappd", async (signal) => {
  const inherited = inheritedSockets();
  if (wait) await waitForFile(config, signal);
  return startTappd(await loadConfig(TappdConfig, { path: config }), { inherited });
});
