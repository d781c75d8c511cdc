import { rm } from "node:fs/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { run } from "../soak/attack.js";
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
    // They did get as far as they were meant to.
    expect([...outcomes.keys()]).toEqual(
      expect.arrayContaining(["reset", "unknown_name", "handshake_failed"]),
    );
  },
  120_000,
);
