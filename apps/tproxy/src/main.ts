import { errorMessage } from "@dstack/core";
import { loadConfig, runDaemon } from "@dstack/daemon";
import { Command } from "commander";
import { TproxyConfig } from "./config.js";
import { startTproxy } from "./service.js";

const program = new Command("tproxy")
  .description("WireGuard hub and TLS reverse proxy of confidential VMs.")
  .version("0.1.0")
  .option("-c, --config <file>", "configuration file", "tproxy.toml")
  .showHelpAfterError()
  .action(async ({ config }: { config: string }) => {
    await runDaemon("tproxy", async () => startTproxy(await loadConfig(TproxyConfig, { path: config })));
  });

program.parseAsync().catch((err: unknown) => {
  process.stderr.write(`tproxy: ${errorMessage(err)}\n`);
  process.exitCode = 1;
});
