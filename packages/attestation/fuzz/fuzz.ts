import { Coverage } from "./coverage.js";
import { mutate } from "./mutate.js";
import { Random } from "./random.js";
import type { Target } from "./target.js";

/** How long one input may take. A good one takes under 5 ms; the rest is for a machine that does other things too. */
export const MAX_MS = 2000;
const DEFAULT_MAX_BYTES = 16 * 1024;
/** How many runs are made between two looks at what they covered; a look costs as much as some hundred runs. */
const BATCH = 1000;
/** How much the process may grow over what it had, whatever the inputs. */
const MAX_GROWTH_BYTES = 768 * 1024 * 1024;

export interface FuzzOptions {
  /** Same seed, same inputs (where coverage does not guide, or guides the same). */
  readonly seed: number;
  /** Ends after so many runs, */
  readonly runs?: number;
  /** or after so much time. */
  readonly seconds?: number;
  /** Keep inputs that reach new code and go on from them. */
  readonly guided?: boolean;
}

export interface FuzzResult {
  readonly runs: number;
  /** How many inputs were taken, not refused. */
  readonly taken: number;
  readonly corpus: number;
  readonly blocks: number | undefined;
  readonly finding?: Finding;
}

export interface Finding {
  readonly input: Uint8Array;
  readonly why: string;
}

/** Feeds a target its seeds and then changed ones, until something goes wrong or the end is reached. */
export function fuzz(target: Target, options: FuzzOptions): FuzzResult {
  const { seed, runs = Infinity, seconds = Infinity, guided = false } = options;
  const random = new Random(seed);
  const corpus = [...target.seeds()];
  using coverage = guided ? new Coverage() : undefined;
  const { words = [], maxBytes = DEFAULT_MAX_BYTES } = target;
  const end = performance.now() + seconds * 1000;
  const startRss = process.memoryUsage.rss();
  let [made, taken] = [0, 0];
  const done = (finding?: Finding): FuzzResult => ({
    runs: made,
    taken,
    corpus: corpus.length,
    blocks: coverage?.size,
    ...(finding === undefined ? {} : { finding }),
  });
  for (const input of corpus) {
    const outcome = tryInput(target, input);
    made++;
    if (outcome === "taken") taken++;
    if (typeof outcome === "object") return done(outcome);
  }
  coverage?.hasNew();
  coverage?.learn();
  while (made < runs && performance.now() < end) {
    const batch: Uint8Array[] = [];
    for (let i = 0; i < BATCH && made < runs; i++) {
      const input = mutate(random.of(corpus), random, { words, corpus }, maxBytes);
      batch.push(input);
      const outcome = tryInput(target, input);
      made++;
      if (outcome === "taken") taken++;
      if (typeof outcome === "object") return done(outcome);
    }
    if (process.memoryUsage.rss() - startRss > MAX_GROWTH_BYTES) {
      return done({ input: batch.at(-1) ?? new Uint8Array(), why: "the process grew without end" });
    }
    if (coverage !== undefined) corpus.push(...reachingNew(target, batch, coverage));
  }
  return done();
}

/** Those inputs that reach code nobody reached before, found by halves. The batch has just run. */
function reachingNew(
  target: Target,
  batch: readonly Uint8Array[],
  coverage: Coverage,
): readonly Uint8Array[] {
  if (!coverage.hasNew()) return [];
  if (batch.length === 1) {
    coverage.learn();
    return batch;
  }
  const half = Math.ceil(batch.length / 2);
  return [batch.slice(0, half), batch.slice(half)].flatMap((part) => {
    for (const input of part) tryInput(target, input);
    return reachingNew(target, part, coverage);
  });
}

/** What came of one input. */
export function tryInput(target: Target, input: Uint8Array): "taken" | "refused" | Finding {
  const start = performance.now();
  let outcome: "taken" | "refused" = "taken";
  try {
    target.read(input.slice());
  } catch (err) {
    if (!target.refusals.some((kind) => err instanceof kind)) {
      return { input, why: err instanceof Error ? (err.stack ?? err.message) : String(err) };
    }
    outcome = "refused";
  }
  const ms = performance.now() - start;
  if (ms > MAX_MS) return { input, why: `it took ${Math.round(ms)} ms` };
  return outcome;
}
