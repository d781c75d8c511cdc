import { rm } from "node:fs/promises";
import { afterAll, beforeAll, describe, expect } from "vitest";
import { createNativeDataPlane } from "../src/index.js";
import { dataPlaneContract } from "./contract.js";
import { THREAD_CHECKS, buildCheckedEngine, temporaryDirectory } from "./native-engine.js";

let directory = "";
let engine = "";
const troubles: Error[] = [];

beforeAll(async () => {
  directory = await temporaryDirectory();
  engine = await buildCheckedEngine(directory, THREAD_CHECKS);
});

afterAll(async () => {
  await rm(directory, { recursive: true, force: true });
  expect(troubles).toEqual([]); // a finding makes the exit code another one
});

describe("native data plane with four threads, under ThreadSanitizer", () => {
  dataPlaneContract((options) =>
    createNativeDataPlane({
      ...options,
      threads: 4,
      command: [engine],
      silenceMs: 600_000, // slow it may be
      onTrouble: (error) => troubles.push(error),
    }),
  );
});
