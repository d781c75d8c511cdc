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
])(
  "P4: stands malicious clients and apps under %s",
  async (_, checks) => {
    const engine = await buildCheckedEngine(directory, checks);
    const { troubles, left, outcomes } = await run({ seconds: 4, command: [engine] });
    expect(troubles).toEqual([]);
    expect(left).toBe(0);
    expect(outcomes.size).toBeGreaterThan(0); // how far they get within the deadlines is a matter of how busy the machine is
  },
  300_000,
);
