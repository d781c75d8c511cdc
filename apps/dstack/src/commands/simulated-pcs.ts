import { startSimulatedPcs } from "@dstack/tdx-attest";
import { runDaemon } from "@dstack/daemon";
import type { Command } from "commander";
import { Home } from "../local/home.js";
import { loadPlatform } from "../local/material.js";
import type { GlobalOptions } from "../output.js";
import { wholeNumber } from "./options.js";

/** `dstack simulated-pcs`: serves the collateral of this installation's simulated platform; `dstack up` starts it. */
export function registerSimulatedPcs(program: Command): void {
  program
    .command("simulated-pcs", { hidden: true })
    .description("serve the simulated platform's collateral")
    .requiredOption("--port <port>", "port on 127.0.0.1", wholeNumber(1, 65535))
    .action(async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { port: number }>();
      const home = await Home.open(Home.locate(options.home));
      await runDaemon("simulated-pcs", async () =>
        startSimulatedPcs({ platform: await loadPlatform(home), host: "127.0.0.1", port: options.port }),
      );
    });
}
