import { describe } from "vitest";
import { SimulatedPlatform, createSimulatedProvider } from "../../src/index.js";
import { quoteProviderContract } from "../quote-provider-contract.js";

describe("SimulatedProvider, in this process", () => {
  const platform = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(1));
  quoteProviderContract(async () => createSimulatedProvider({ platform }));
});
