/**
 * Verifications per second, ours and those of `@phala/dcap-qvl` 0.3.9, in one process and in alternating rounds:
 * whatever else the machine does meets all of them. A ratio is that of two neighbours in one round; what is told is the
 * median over all rounds, and the quartiles. A goal is met when it is met in wall time and in processor time.
 *
 *     pnpm bench:attestation [rounds]
 *
 * Ends with exit code 1 when a goal is missed.
 */
import { createRequire } from "node:module";
import { setImmediate } from "node:timers/promises";
import { QuoteVerifier, verifyQuote } from "../../packages/attestation/src/index.js";
import type { Collateral } from "../../packages/attestation/src/index.js";
import { genuineInput, simulatedInput } from "./inputs.js";
import type { Input } from "./inputs.js";

const GOALS = { cold: 2.5, warm: 20 };
/** Long enough a turn that the clock's grain and a collection of garbage do not count. */
const TURN_MS = 250;
const WARM_UP_MS = 1000;

interface Library {
  QuoteVerifier: new (rootDer: Buffer) => {
    verify(quote: Buffer, collateral: Collateral, now: number): { status: string };
  };
}
const fromAttestation = createRequire(new URL("../../packages/attestation/package.json", import.meta.url));
const library = fromAttestation("@phala/dcap-qvl") as Library;

const CONTENDERS = ["dcap-qvl", "cold", "warm"] as const;
type Contender = (typeof CONTENDERS)[number];

/** Each verifies one quote completely and gives its status. */
function contenders(input: Input): Record<Contender, (quote: Uint8Array) => string> {
  const { collateral, now, anchors } = input;
  const root = Buffer.from(input.rootDer);
  const verifier = new QuoteVerifier({ anchors });
  return {
    "dcap-qvl": (quote) => new library.QuoteVerifier(root).verify(Buffer.from(quote), collateral, now).status,
    cold: (quote) => verifyQuote({ quote, collateral, now, anchors }).status,
    warm: (quote) => verifier.verifyQuote({ quote, collateral, now }).status,
  };
}

interface Turn {
  /** Verifications per second of wall time, and of processor time. */
  readonly wall: number;
  readonly cpu: number;
}

function takeTurn(verify: (quote: Uint8Array) => string, quotes: readonly Uint8Array[], ms: number): Turn {
  const cpu = process.cpuUsage();
  const start = performance.now();
  let count = 0;
  for (; performance.now() - start < ms; count++) {
    const status = verify(quotes[count % quotes.length] ?? new Uint8Array());
    if (status !== "UpToDate") throw new Error(`a good quote is ${status}`);
  }
  const { user, system } = process.cpuUsage(cpu);
  return { wall: (count / (performance.now() - start)) * 1000, cpu: (count / (user + system)) * 1e6 };
}

function measure(input: Input, rounds: number): boolean {
  const verify = contenders(input);
  for (const name of CONTENDERS) takeTurn(verify[name], input.quotes, WARM_UP_MS);
  const turns: Record<Contender, Turn[]> = { "dcap-qvl": [], cold: [], warm: [] };
  for (let round = 0; round < rounds; round++) {
    // Each is first, second and third equally often.
    for (let place = 0; place < CONTENDERS.length; place++) {
      const name = CONTENDERS[(round + place) % CONTENDERS.length] ?? "cold";
      turns[name].push(takeTurn(verify[name], input.quotes, TURN_MS));
    }
  }
  console.log(`\n${input.name}, ${rounds} rounds\n`);
  console.log(
    "| | per second | quartiles | times dcap-qvl | quartiles | per CPU second | times dcap-qvl | goal |",
  );
  console.log("| --- | --- | --- | --- | --- | --- | --- | --- |");
  const base = turns["dcap-qvl"];
  let met = true;
  for (const name of CONTENDERS) {
    const wall = turns[name].map((turn) => turn.wall);
    const cpu = turns[name].map((turn) => turn.cpu);
    const wallRatios = wall.map((value, round) => value / (base[round]?.wall ?? NaN));
    const cpuRatio = quantile(
      cpu.map((value, round) => value / (base[round]?.cpu ?? NaN)),
      0.5,
    );
    const worse = Math.min(quantile(wallRatios, 0.5), cpuRatio);
    const goal = name === "dcap-qvl" ? undefined : GOALS[name];
    if (goal !== undefined && !(worse >= goal)) met = false;
    const cells = [
      name,
      quantile(wall, 0.5).toFixed(0),
      quartiles(wall, 0),
      quantile(wallRatios, 0.5).toFixed(1),
      quartiles(wallRatios, 1),
      quantile(cpu, 0.5).toFixed(0),
      cpuRatio.toFixed(1),
      goal === undefined ? "" : `${goal} ${worse >= goal ? "met" : "MISSED"}`,
    ];
    console.log(`| ${cells.join(" | ")} |`);
  }
  return met;
}

const quartiles = (values: readonly number[], digits: number): string =>
  `${quantile(values, 0.25).toFixed(digits)} to ${quantile(values, 0.75).toFixed(digits)}`;

function quantile(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.round((sorted.length - 1) * share)] ?? NaN;
}

/** Many more platforms than are remembered: the heap must stop growing when the memory is full. */
async function measureMemory(): Promise<boolean> {
  const maxEntries = 64;
  const { anchors } = simulatedInput(0);
  const verifier = new QuoteVerifier({ anchors, maxEntries });
  // What a collected key or buffer held outside of the heap is given back in a later turn of the event loop.
  const heapMiB = async (): Promise<number> => {
    for (let turn = 0; turn < 3; turn++) {
      globalThis.gc?.();
      await setImmediate();
    }
    const { heapUsed, external } = process.memoryUsage();
    return (heapUsed + external) / 2 ** 20;
  };
  const feed = (from: number, to: number): void => {
    for (let index = from; index < to; index++) {
      const { quotes, collateral, now } = simulatedInput(1, index.toString(16).padStart(12, "0"));
      for (const quote of quotes) verifier.verifyQuote({ quote, collateral, now });
    }
  };
  feed(0, 8);
  const before = await heapMiB();
  feed(8, maxEntries + 8);
  const full = await heapMiB();
  feed(maxEntries + 8, 10 * maxEntries);
  const after = await heapMiB();
  const { collateral, chains } = verifier.remembered;
  const perEntryKiB = ((full - before) * 1024) / (maxEntries - 8);
  console.log(
    `\nmemory: ${10 * maxEntries} platforms through a verifier that remembers ${maxEntries}: ${collateral} collaterals and ` +
      `${chains} chains kept, about ${perEntryKiB.toFixed(0)} KiB each pair; heap ${before.toFixed(1)} MiB at first, ` +
      `${full.toFixed(1)} full, ${after.toFixed(1)} at the end`,
  );
  return chains <= maxEntries && collateral <= maxEntries && after - full < 2;
}

const rounds = Number(process.argv[2] ?? 15);
const genuine = genuineInput();
if (genuine === undefined) console.log("no shared/vectors beside the checkout: only simulated quotes");
const inputs = [...(genuine === undefined ? [] : [genuine]), simulatedInput(64)];
const met = inputs.map((input) => measure(input, rounds));
met.push(await measureMemory());
if (met.includes(false)) {
  console.log("\na goal was missed");
  process.exitCode = 1;
}
