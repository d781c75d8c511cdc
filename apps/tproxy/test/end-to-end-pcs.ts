// Runs in tproxy's namespace: the collateral of the simulated platform.
import { startSimulatedPcs } from "@dstack/tdx-attest";
import { platform } from "./site.js";

await startSimulatedPcs({ platform, host: "127.0.0.1", port: 8081 });
process.stdout.write("ready\n");
process.stdin.resume().once("end", () => process.exit(0));
