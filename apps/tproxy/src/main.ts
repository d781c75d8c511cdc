import { errorMessage } from "@dstack/core";
import { loadConfig, runDaemon } from "@dstack/daemon";
import { Command } from "commander";
import { TproxyConfig } from "./config.js";
import { startTproxy } from "./service.js";
import { removeInterface } from "./wireguard/remove-interface.js";

const program = new Command("tproxy")
  .description("WireGuard hub and TLS reverse proxy of confidential VMs.")
  .version("0.1.0")
  .option("-c, --config <file>", "configuration file", "tproxy.toml")
  .showHelpAfterError()
  .action(async ({ config }: { config: string }) => {
    await runDaemon("tproxy", async () => startTproxy(await loadConfig(TproxyConfig, { path: config })));
  });

program
  .command("down")
  .description("remove the tunnel's interface, which tproxy leaves for its successor when it ends")
  .action(async (_: unknown, command: Command) => {
    const { config: path } = command.optsWithGlobals<{ config: string }>();
    const config = await loadConfig(TproxyConfig, { path });
    const removed = await removeInterface(config);
    process.stdout.write(`${config.wg.interface} ${removed ? "is removed" : "was not there"}\n`);
  });

program.parseAsync().catch((err: unknown) => {
  process.stderr.write(`tproxy: ${errorMessage(err)}\n`);
  process.exitCode = 1;
});
