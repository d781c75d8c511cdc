import type { Command } from "commander";
import { LinuxSystem } from "../boot/linux/linux-system.js";
import { renewTunnel } from "../boot/tunnel/renew.js";
import type { CliContext } from "../context.js";

/** With several nodes that do not answer, each has its time. */
const GIVE_UP_MS = 180_000;

/** `tdxctl renew-tunnel`: called by `dstack-tunnel.service` when a node of tproxy was not heard for too long. */
export function registerRenewTunnel(program: Command, context: CliContext): void {
  program
    .command("renew-tunnel")
    .description("register with tproxy again, at any of its nodes (inside a CVM only)")
    .action(async () => {
      const url = await renewTunnel(new LinuxSystem(), AbortSignal.timeout(GIVE_UP_MS));
      context.print(`registered again at ${url}\n`);
    });
}
