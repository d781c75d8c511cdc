/**
 * Fuzzes the readers of everything that strangers prepare, guided by coverage.
 *
 *     pnpm fuzz [target…] [--seconds 60 | --runs 100000] [--seed 1]
 *     pnpm fuzz <target> --replay <file>
 *
 * An input that does what it must not is written to `.fuzz/`, and the exit code is 1.
 */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { fuzz, tryInput } from "./fuzz.js";
import type { Finding } from "./fuzz.js";
import type { Target } from "./target.js";
import { TARGETS } from "./targets/index.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: "string" },
    seconds: { type: "string" },
    seed: { type: "string", default: "1" },
    replay: { type: "string" },
  },
});

function fail(message: string): never {
  console.error(message);
  process.exit(2);
}

function wholeNumber(name: string, text: string): number {
  if (!/^\d{1,9}$/.test(text)) fail(`--${name} must be a whole number, not ${text}`);
  return Number(text);
}

function chosen(): readonly Target[] {
  if (positionals.length === 0) return TARGETS;
  const names = TARGETS.map((target) => target.name);
  const unknown = positionals.find((name) => !names.includes(name));
  if (unknown !== undefined) fail(`there is no target ${unknown}; there are ${names.join(", ")}`);
  return TARGETS.filter((target) => positionals.includes(target.name));
}

function tell(target: Target, { input, why }: Finding): void {
  mkdirSync(".fuzz", { recursive: true });
  const file = `.fuzz/${target.name}-${createHash("sha256").update(input).digest("hex").slice(0, 12)}`;
  writeFileSync(file, input);
  console.error(`${target.name}: ${why}\n  pnpm fuzz ${target.name} --replay ${file}`);
  process.exitCode = 1;
}

const targets = chosen();
const { replay } = values;
if (replay !== undefined) {
  const [target] = targets;
  if (target === undefined || targets.length !== 1) fail("--replay needs one target");
  const outcome = tryInput(target, new Uint8Array(readFileSync(replay)));
  if (typeof outcome === "string") console.log(`${target.name}: ${outcome}`);
  else {
    console.error(`${target.name}: ${outcome.why}`);
    process.exitCode = 1;
  }
} else {
  const seed = wholeNumber("seed", values.seed);
  const limit =
    values.runs === undefined
      ? { seconds: wholeNumber("seconds", values.seconds ?? "60") }
      : { runs: wholeNumber("runs", values.runs) };
  for (const target of targets) {
    const start = performance.now();
    const { runs, taken, corpus, blocks, finding } = fuzz(target, { ...limit, seed, guided: true });
    const seconds = (performance.now() - start) / 1000;
    const rate = Math.round(runs / seconds);
    console.log(
      `${target.name}: ${runs} runs (${rate}/s), ${taken} taken, ${corpus} inputs kept, ${blocks ?? 0} blocks reached`,
    );
    if (finding !== undefined) tell(target, finding);
  }
}
