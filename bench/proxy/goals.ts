import { setTimeout as sleep } from "node:timers/promises";
import { CONTENDERS } from "./contenders/all.js";
import type { Contender, Kind, Running } from "./contenders/contender.js";
import { busyNeighbour } from "./contenders/ours.js";
import { APP_PORT } from "./ends.js";
import type { Ends, Load } from "./ends.js";
import { cpuSeconds, loadAverage, residentBytes } from "./machine.js";
import type { Cell, RowResult } from "./results.js";
import { rows, smallRequests } from "./rows.js";
import type { Row } from "./rows.js";
import { namesOf } from "./site.js";
import type { Site } from "./site.js";
import { shuffled, spread } from "./statistics.js";

/** How much a run does. */
export interface Size {
  /** At most: none begins when the minutes are over. */
  readonly rounds: number;
  readonly minutes: number;
  /** 1 is a whole run. */
  readonly scale: number;
}

/** Values by row, then by contender; one a round. */
class Values {
  readonly #byRow = new Map<string, Map<string, number[]>>();

  add(row: string, contender: string, value: number): void {
    const cells = this.#byRow.get(row) ?? new Map<string, number[]>();
    this.#byRow.set(row, cells);
    cells.set(contender, [...(cells.get(contender) ?? []), value]);
  }

  of(row: string): ReadonlyMap<string, readonly number[]> {
    return this.#byRow.get(row) ?? new Map();
  }
}

const isHaproxy = (name: string): boolean => name.startsWith("haproxy");

/** Ratios are of values of one round: whatever else the machine did met both. */
function resultOf(
  values: ReadonlyMap<string, readonly number[]>,
  row: Pick<RowResult, "name" | "unit" | "goal" | "goalFor">,
): RowResult {
  const medians = [...values]
    .filter(([name]) => isHaproxy(name))
    .map(([name, all]) => [name, spread(all).median] as const);
  const [base] = medians.reduce((best, next) => (next[1] < best[1] ? next : best), ["", Infinity] as const);
  const baseValues = values.get(base) ?? [];
  const cells = [...values].map(([name, all]): [string, Cell] => {
    const ratio = spread(all.map((value, round) => value / (baseValues[round] ?? NaN)));
    return [name, { values: all, spread: spread(all), ratio }];
  });
  return { ...row, base, cells: Object.fromEntries(cells) };
}

const say = (text: string): void => void process.stderr.write(`${text}\n`);

async function cost(ends: Ends, site: Site, running: Running, row: Row): Promise<number> {
  const name = namesOf(site.ids[0] ?? "")[row.ask];
  const before = cpuSeconds(running.pids());
  await ends.run(running.port(row.kind), name, row.load);
  const seconds = cpuSeconds(running.pids()) - before;
  return (seconds / row.units) * (row.unit === "GiB" ? 1 : 1e6);
}

/** V8 compiles what a report runs through in several steps, the last one after some 14,000 of them. */
const manyConnections = {
  speech: "canned",
  atOnce: 64,
  connections: 16_000,
  requestsEach: 1,
  answerBytes: 200,
} as const;

/** The rows about processor time: all contenders stay up, and each round takes them in another order. */
export async function measureCosts(
  ends: Ends,
  site: Site,
  { rounds, minutes, scale }: Size,
): Promise<{ rows: RowResult[]; loadAverages: number[] }> {
  const values = new Values();
  const loadAverages: number[] = [];
  const running = new Map<Contender, Running>();
  try {
    for (const contender of CONTENDERS) {
      running.set(contender, await contender.start(site, { pinned: true, busy: false }));
    }
    // Not counted: what is compiled, allocated or cached once.
    await eachContender("pass", (up) =>
      ends.run(up.port("pass"), namesOf(site.ids[0] ?? "").canned, manyConnections),
    );
    for (const row of rows(scale / 4)) await eachContender(row.kind, (up) => cost(ends, site, up, row));
    const until = performance.now() + minutes * 60_000;
    for (let round = 0; round < rounds && performance.now() < until; round++) {
      loadAverages.push(loadAverage());
      say(`round ${round + 1} of ${rounds}, load average ${loadAverage()}`);
      for (const row of rows(scale)) {
        await eachContender(row.kind, async (up, name) => {
          values.add(row.name, name, await cost(ends, site, up, row));
        });
      }
    }
    loadAverages.push(loadAverage());
  } finally {
    for (const up of running.values()) await up[Symbol.asyncDispose]();
  }
  const results = rows(scale).map(({ name, goal, unit }) =>
    resultOf(values.of(name), { name, goal, goalFor: "ratio", unit: costUnit(unit) }),
  );
  return { rows: results, loadAverages };

  async function eachContender(
    kind: Kind,
    work: (up: Running, name: string) => Promise<unknown>,
  ): Promise<void> {
    for (const contender of shuffled(CONTENDERS)) {
      const up = running.get(contender);
      if (up !== undefined && contender.kinds.includes(kind)) await work(up, contender.name);
    }
  }
}

function costUnit(unit: Row["unit"]): string {
  return unit === "GiB" ? "s of CPU a GiB" : `µs of CPU a ${unit}`;
}

/** A row about idle connections. */
interface Idle {
  readonly name: string;
  /** KiB of user memory that each may take. */
  readonly goal: number;
  readonly kind: Kind;
  readonly ask: Row["ask"];
  readonly speech: Load["speech"];
  /** How many, in a whole run. */
  readonly connections: number;
}

export const IDLE: readonly Idle[] = [
  {
    name: "idle passthrough connection",
    ...{ goal: 0.5, kind: "pass", ask: "canned", speech: "canned", connections: 6000 },
  },
  {
    name: "idle terminated connection",
    ...{ goal: 15, kind: "end", ask: "ended", speech: "tls", connections: 4000 },
  },
];
/** So many come and go before the memory is looked at. */
const IDLE_WARM_UP = 500;
/** So many come at a time: what a crowd takes for a moment is another question. */
const IDLE_AT_ONCE = 32;
/** Allocators give memory back, or use what they have, some time after. */
const SETTLE_MS = 1_500;

/** User memory that an idle connection takes, beyond what the process took before there were any. */
export async function measureIdle(
  ends: Ends,
  site: Site,
  { rounds, minutes, scale }: Size,
  { name, goal, kind, ask: asked, speech, connections: most }: Idle,
): Promise<RowResult> {
  const until = performance.now() + minutes * 60_000;
  const values = new Values();
  const connections = Math.ceil(most * scale);
  const load = { speech, atOnce: IDLE_AT_ONCE, requestsEach: 1, answerBytes: 200 } as const;
  const able = CONTENDERS.filter(({ kinds }) => kinds.includes(kind));
  for (let round = 0; round < rounds && performance.now() < until; round++) {
    say(`${name}, round ${round + 1} of ${rounds}`);
    for (const contender of shuffled(able)) {
      await using running = await contender.start(site, { pinned: true, busy: false });
      const ask = namesOf(site.ids[0] ?? "")[asked];
      await ends.run(running.port(kind), ask, { ...load, connections: IDLE_WARM_UP });
      await sleep(SETTLE_MS);
      const before = residentBytes(running.pids());
      await using _held = await ends.hold(running.port(kind), ask, { ...load, connections });
      await sleep(SETTLE_MS);
      const growth = residentBytes(running.pids()) - before;
      values.add(name, contender.name, growth / 1024 / connections);
    }
  }
  return resultOf(values.of(name), { name, goal, goalFor: "value", unit: "KiB of user memory" });
}

/** What the ends take by themselves, with no proxy between them. */
const NO_PROXY = "no proxy";

/** How long one small request in a thousand takes while the control plane works for 20 ms of every 100 ms. */
export async function measureTail(
  ends: Ends,
  site: Site,
  { rounds, minutes, scale }: Size,
): Promise<RowResult> {
  const until = performance.now() + minutes * 60_000;
  const name = "p99.9 of a small request, control plane busy";
  const values = new Values();
  for (let round = 0; round < rounds && performance.now() < until; round++) {
    say(`requests beside a busy control plane, round ${round + 1} of ${rounds}`);
    const ask = namesOf(site.ids[0] ?? "").canned;
    const measure = async (port: number, contender: string): Promise<void> => {
      await ends.run(port, ask, smallRequests(2_000), false);
      const { latencyUs } = await ends.run(port, ask, smallRequests(60_000 * scale), false);
      values.add(name, contender, latencyUs.p999 / 1000);
    };
    for (const contender of shuffled([...CONTENDERS, undefined])) {
      const isOurs = contender?.name === "native" || contender?.name === "js";
      await using _neighbour = isOurs ? { [Symbol.asyncDispose]: async () => {} } : await busyNeighbour(site);
      if (contender === undefined) {
        await measure(APP_PORT, NO_PROXY);
        continue;
      }
      await using running = await contender.start(site, { pinned: false, busy: true });
      await measure(running.port("pass"), contender.name);
    }
  }
  return resultOf(values.of(name), { name, goal: 5, goalFor: "value", unit: "ms" });
}
