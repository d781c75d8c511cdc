import { rm } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect } from "vitest";
import { createNativeDataPlane } from "../src/index.js";
import { dataPlaneContract } from "./contract.js";
import { buildCheckedEngine, temporaryDirectory } from "./native-engine.js";

let directory = "";
let engine = "";
const troubles: Error[] = [];

beforeAll(async () => {
  directory = await temporaryDirectory();
  engine = await buildCheckedEngine(directory);
});

afterAll(async () => {
  await rm(directory, { recursive: true, force: true });
  expect(troubles).toEqual([]); // a finding ends the engine
});

describe("native data plane under AddressSanitizer and UndefinedBehaviorSanitizer", () => {
  dataPlaneContract((options) =>
    createNativeDataPlane({
      ...options,
      command: [engine],
      silenceMs: 600_000, // slow it may be
      onTrouble: (error) => troubles.push(error),
    }),
  );
});
