/** The simulated platform in the VM. The host knows its seed, and so its root and its collateral. */
import { SimulatedPlatform } from "../../../src/index.js";

export const platform = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(0x6d));
