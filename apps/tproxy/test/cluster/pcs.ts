// Runs on the LAN's hub: the collateral of the simulated platform.
import { startSimulatedPcs } from "@dstack/tdx-attest";
import { platform } from "../site.js";

await startSimulatedPcs({ platform, host: "10.200.0.1", port: 8081 });
