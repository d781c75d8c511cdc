import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseAppId, parseInstanceId } from "../../packages/core/src/index.js";
import { createJsDataPlane, createNativeDataPlane } from "../../packages/tls-proxy/src/index.js";
import { parsePublicKey } from "../../packages/wireguard-tools-wrapper/src/index.js";
import type { Instance } from "../../apps/tproxy/src/registry/instance.js";
import { routeTable } from "../../apps/tproxy/src/routing/route-table.js";
import { CONTENDERS } from "./contenders/all.js";
import type { Contender, Running } from "./contenders/contender.js";
import type { Ends } from "./ends.js";
import { cpuSeconds, processTree, residentBytes } from "./machine.js";
import type { Growth } from "./results.js";
import { BASE_DOMAIN, makeIds, namesOf } from "./site.js";
import type { Site } from "./site.js";
import { shuffled, spread } from "./statistics.js";

const say = (text: string): void => void process.stderr.write(`${text}\n`);

const THREADS = [1, 2];
const BULK_CONNECTIONS = 16;

/** Terminated bulk as relay threads grow; unlike elsewhere proxy, load generator and app share the cores. */
export async function measureThreads(
  ends: Ends,
  site: Site,
  { rounds, bytes }: { rounds: number; bytes: number },
): Promise<Growth[]> {
  // One thread is all that ours in plain Node has, and what is inside TLS is not spliced.
  const contenders = CONTENDERS.filter(
    ({ name, kinds }) => kinds.includes("end") && name !== "js" && name !== "haproxy-splice",
  );
  const speeds = Object.fromEntries(contenders.map(({ name }) => [name, [] as number[]]));
  const costs = Object.fromEntries(contenders.map(({ name }) => [name, [] as number[]]));
  for (const threads of THREADS) {
    say(`terminated bulk with ${threads} threads`);
    const seen = new Map<string, { speed: number; cost: number }[]>();
    for (let round = 0; round < rounds; round++) {
      for (const contender of shuffled(contenders)) {
        await using up = await contender.start(site, { pinned: false, busy: false, threads });
        await terminatedBulk(ends, site, up, bytes / 8); // what is allocated once
        const found = await terminatedBulk(ends, site, up, bytes);
        seen.set(contender.name, [...(seen.get(contender.name) ?? []), found]);
      }
    }
    for (const [name, all] of seen) {
      speeds[name]?.push(spread(all.map(({ speed }) => speed)).median);
      costs[name]?.push(spread(all.map(({ cost }) => cost)).median);
    }
  }
  return [
    { title: "threads: terminated bulk, 16 connections", unit: "MB/s", sizes: THREADS, series: speeds },
    { title: "threads: the same", unit: "s of CPU a GiB", sizes: THREADS, series: costs },
  ];
}

async function terminatedBulk(
  ends: Ends,
  site: Site,
  up: Running,
  bytes: number,
): Promise<{ speed: number; cost: number }> {
  const before = cpuSeconds(up.pids());
  const { bytes: carried, seconds } = await ends.run(
    up.port("end"),
    namesOf(site.ids[0] ?? "").ended,
    {
      speech: "tls",
      atOnce: BULK_CONNECTIONS,
      connections: BULK_CONNECTIONS,
      requestsEach: 1,
      answerBytes: Math.ceil(bytes / BULK_CONNECTIONS),
    },
    false,
  );
  const cost = (cpuSeconds(up.pids()) - before) / (carried / 2 ** 30);
  return { speed: carried / seconds / 1e6, cost };
}

/** So many of the names are asked for, spread evenly over all. */
const ASKED_NAMES = 256;
/** sniproxy tries one regular expression after the other: with more routes a run would not end. */
const MOST_SNIPROXY_ROUTES = 1_000;

/** A raw passthrough connection as routes grow, and what a process with so many takes. */
export async function measureRoutes(
  ends: Ends,
  site: Site,
  { sizes, rounds, connections }: { sizes: readonly number[]; rounds: number; connections: number },
): Promise<Growth[]> {
  const contenders = CONTENDERS.filter(({ name }) => !["haproxy-64k", "haproxy-splice"].includes(name));
  const costs = Object.fromEntries(contenders.map(({ name }) => [name, [] as (number | null)[]]));
  const memory = Object.fromEntries(contenders.map(({ name }) => [name, [] as (number | null)[]]));
  for (const size of sizes) {
    say(`${size} routes`);
    const large = { ...site, ids: makeIds(size) };
    const able = contenders.filter(({ name }) => name !== "sniproxy" || size <= MOST_SNIPROXY_ROUTES);
    const running = new Map<Contender, Running>();
    try {
      for (const contender of able)
        running.set(contender, await contender.start(large, { pinned: true, busy: false }));
      const values = await rawConnections(ends, large, running, rounds, connections);
      for (const contender of contenders) {
        const found = values.get(contender);
        const up = running.get(contender);
        costs[contender.name]?.push(found === undefined ? null : spread(found).median);
        memory[contender.name]?.push(up === undefined ? null : residentBytes(up.pids()) / 2 ** 20);
      }
    } finally {
      for (const up of running.values()) await up[Symbol.asyncDispose]();
    }
  }
  return [
    { title: "routes: a raw connection", unit: "µs of CPU", sizes, series: costs },
    { title: "routes: all processes", unit: "MiB", sizes, series: memory },
  ];
}

async function rawConnections(
  ends: Ends,
  site: Site,
  running: ReadonlyMap<Contender, Running>,
  rounds: number,
  connections: number,
): Promise<Map<Contender, number[]>> {
  const names = join(site.directory, "names");
  const step = Math.max(1, Math.floor(site.ids.length / ASKED_NAMES));
  const asked = site.ids.filter((_, index) => index % step === 0).slice(0, ASKED_NAMES);
  writeFileSync(names, asked.map((id) => `${namesOf(id).canned}\n`).join(""));
  const load = { speech: "canned", atOnce: 64, connections, requestsEach: 1, answerBytes: 200 } as const;
  const values = new Map<Contender, number[]>();
  for (let round = -1; round < rounds; round++) {
    for (const [contender, up] of shuffled([...running])) {
      const before = cpuSeconds(up.pids());
      await ends.run(up.port("pass"), `@${names}`, load);
      const each = ((cpuSeconds(up.pids()) - before) / connections) * 1e6;
      if (round >= 0) values.set(contender, [...(values.get(contender) ?? []), each]); // the first one warms up
    }
  }
  return values;
}

/** First as many that do not count: what is compiled once. */
const PUBLICATIONS = 20;

/** What the control plane spends every three seconds on new handshakes of all peers, the engine's part included. */
export async function measurePeers(sizes: readonly number[]): Promise<Growth> {
  const series: Record<string, number[]> = { native: [], js: [] };
  for (const size of sizes) {
    say(`${size} peers`);
    for (const [name, create] of [
      ["native", createNativeDataPlane],
      ["js", createJsDataPlane],
    ] as const) {
      const peers = makePeers(size);
      const table = (round: number) =>
        routeTable(peers, handshakes(peers, round), NOW, { baseDomains: [BASE_DOMAIN], allowedPorts: [] });
      await using plane = await create({ listeners: [{ host: "127.0.0.1", port: 0 }], routes: table(0) });
      const publish = async (first: number): Promise<void> => {
        for (let round = first; round < first + PUBLICATIONS; round++) {
          plane.setRoutes(table(round));
          await sleep(20); // the engine's turn
        }
      };
      await publish(1);
      const before = cpuSeconds(processTree(process.pid));
      await publish(1 + PUBLICATIONS);
      series[name]?.push(((cpuSeconds(processTree(process.pid)) - before) / PUBLICATIONS) * 1000);
    }
  }
  return { title: "peers: publishing their handshakes", unit: "ms of CPU", sizes, series };
}

const NOW = 1_800_000_000;
const INSTANCES_OF_AN_APP = 4;

function makePeers(count: number): Instance[] {
  const ids = makeIds(count);
  return ids.map((id, index) => ({
    instanceId: parseInstanceId(id),
    appId: parseAppId(ids[index - (index % INSTANCES_OF_AN_APP)] ?? id),
    publicKey: parsePublicKey(Buffer.from(id.repeat(2), "hex").subarray(0, 32).toString("base64")),
    ip: `10.${index >> 16}.${(index >> 8) & 255}.${index & 255}`,
    registeredAt: NOW - 10_000,
    draining: false,
  }));
}

/** WireGuard shakes hands every two minutes, and a table is made every three seconds. */
const ROUNDS_BETWEEN_HANDSHAKES = 40;

function handshakes(peers: readonly Instance[], round: number): Map<string, number> {
  return new Map(
    peers.map(({ publicKey }, index) => {
      const roundsSince = (round + index * 7919) % ROUNDS_BETWEEN_HANDSHAKES;
      return [publicKey, NOW - 3 * roundsSince];
    }),
  );
}
