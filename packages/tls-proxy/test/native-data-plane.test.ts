import { describe } from "vitest";
import { createNativeDataPlane } from "../src/index.js";
import { dataPlaneContract } from "./contract.js";

describe("native data plane", () => {
  dataPlaneContract(createNativeDataPlane);
});
