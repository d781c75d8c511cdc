import { InputError } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { fuzz, tryInput } from "../../fuzz/fuzz.js";
import type { Target } from "../../fuzz/target.js";
import { TARGETS } from "../../fuzz/targets/index.js";

/** `pnpm fuzz` runs as long as one likes, guided by coverage; this is the part of it that every change passes. */
const RUNS = 1500;

describe("E11: whatever the bytes, a reader refuses with its own error, in time, or what it took is sound", () => {
  it.each(TARGETS)("$name", (target) => {
    const { finding, runs, taken } = fuzz(target, { seed: 1, runs: RUNS });
    expect(finding).toBeUndefined();
    expect(runs).toBe(RUNS);
    // Mutants that are all refused at the door would test the door only.
    expect(taken).toBeGreaterThan(0);
  });

  it.each(TARGETS)("$name takes its seeds, or refuses them in its own way", (target) => {
    expect(target.seeds().map((seed) => typeof tryInput(target, seed))).toEqual(
      target.seeds().map(() => "string"),
    );
  });
});

describe("the fuzzer", () => {
  /** Breaks behind three conditions, each of which only a new block of code shows to be met. */
  const buried: Target = {
    name: "buried",
    seeds: () => [new Uint8Array(8)],
    refusals: [InputError],
    read: ([first, second, third]) => {
      if (first !== 0x42) throw new InputError("no");
      if (second !== 0x17) throw new InputError("not yet");
      if (third === 0x99) throw new RangeError("found");
    },
  };

  it("finds what is wrong, the same for the same seed, and gives the input that shows it", () => {
    const shallow: Target = { ...buried, read: ([first]) => void (first === 7 && unexpected()) };
    const [one, two] = [1, 1].map((seed) => fuzz(shallow, { seed, runs: 100_000 }));
    expect(one?.finding?.why).toContain("unexpected");
    expect(two).toEqual(one);
    expect(tryInput(shallow, one?.finding?.input ?? new Uint8Array())).toMatchObject({
      why: expect.stringContaining("unexpected"),
    });
  });

  it("takes an error of a reader's own for a refusal, and no other", () => {
    expect(tryInput(buried, new Uint8Array(3))).toBe("refused");
    expect(tryInput(buried, Uint8Array.of(0x42, 0x17, 0))).toBe("taken");
    expect(tryInput(buried, Uint8Array.of(0x42, 0x17, 0x99))).toMatchObject({
      why: expect.stringContaining("found"),
    });
  });

  it("finds what hangs", () => {
    const slow: Target = {
      ...buried,
      read: () => void Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 2100),
    };
    expect(fuzz(slow, { seed: 1, runs: 10 }).finding?.why).toMatch(/^it took \d+ ms$/);
  });
});

function unexpected(): never {
  throw new RangeError("unexpected");
}
