import type { Command } from "commander";
import { LinuxSystem } from "../boot/linux/linux-system.js";
import { runBoot } from "../boot/run-boot.js";

/** `tdxctl boot`: the guest's start-up. Run once, by `dstack-boot.service`; it changes the machine it runs on. */
export function registerBoot(program: Command): void {
  program
    .command("boot")
    .description("start this guest: measure it, get its keys, open its disk, run its app (inside a CVM only)")
    .action(async () => {
      await runBoot(new LinuxSystem());
    });
}
