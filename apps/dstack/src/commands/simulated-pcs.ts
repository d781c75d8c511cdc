import { startSimulatedPcs } from "@dstack/tdx-attest";
import { runDaemon } from "@dstack/daemon";
import type { Command } from "commander";
import { loadPlatform } from "../local/material.js";
import { wholeNumber } from "./options.js";

/** `dstack simulated-pcs`: serves the collateral of a simulated platform; `dstack up` starts it. */
export function registerSimulatedPcs(program: Command): void {
  program
    .command("simulated-pcs", { hidden: true })
    .description("serve a simulated platform's collateral")
    .requiredOption("--seed <file>", "the platform's seed")
    .requiredOption("--port <port>", "port on 127.0.0.1", wholeNumber(1, 65535))
    .action(async ({ seed, port }: { seed: string; port: number }) => {
      await runDaemon("simulated-pcs", async () =>
        startSimulatedPcs({ platform: await loadPlatform(seed), host: "127.0.0.1", port }),
      );
    });
}
