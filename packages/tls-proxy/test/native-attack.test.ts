import { rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { run } from "./attack/attack.js";
import { CHECKS, THREAD_CHECKS, buildCheckedEngine, temporaryDirectory } from "./native-engine.js";

let directory = "";

beforeAll(async () => {
  directory = await temporaryDirectory();
});

afterAll(() => rm(directory, { recursive: true, force: true }));

it.each([
  ["AddressSanitizer and UndefinedBehaviorSanitizer", CHECKS],
  ["ThreadSanitizer", THREAD_CHECKS],
])("P4: stands malicious clients and apps under %s", async (_, checks) => {
  const engine = await buildCheckedEngine(directory, checks);
  // They do get as far as they are meant to.
  const until = ["reset", "unknown_name", "handshake_failed"];
  const { troubles, left } = await run({ seconds: 4, until, command: [engine] });
  expect(troubles).toEqual([]);
  expect(left).toBe(0);
});
