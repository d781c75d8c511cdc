import { execFileSync } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { once } from "node:events";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { parseAppId, parseInstanceId } from "../../../packages/core/src/index.js";
import { createClient, unixTransport } from "../../../packages/prpc/src/index.js";
import { tproxyAdmin } from "../../../packages/proto/src/index.js";
import { parsePublicKey } from "../../../packages/wireguard-tools-wrapper/src/index.js";
import { ca, idOf } from "../../../apps/tproxy/test/site.js";
import type { InstanceRegistry } from "../../../apps/tproxy/src/registry/registry.js";
import { cpuSeconds } from "../machine.js";
import { makeIds } from "../site.js";
import { withDirectory } from "./directory.js";
import { registerSilent } from "./peers.js";
import { startProgram } from "./program.js";
import type { Program } from "./program.js";
import type { Finding, Scenario } from "./scenario.js";
import { NAME, PROXY_PORT, RPC_PORT, answers, nameOf, takeAddress, withTproxy } from "./tproxy.js";
import type { TproxyProgram } from "./tproxy.js";

const [INSTANCES, GUESTS, BEGIN_WITHIN_S, HOSTS] = [5_000, 500, 2, 10];
const [APP, APP_PORT] = [idOf("an app that is asked meanwhile"), 9001];
/**
 * tproxy's processor time for a guest: a TLS handshake, two verifications, its part of what is done for all, and the attempts
 * that were refused before. It was 140 ms and more when routes and peers were made anew for each.
 */
const MAX_CPU_MS_EACH = 70;
/** Each is asked every second: beside work of others an answer takes longer, but one that waits for the crowd's end would be a fault. */
const MAX_SILENT_MS = 60_000;
/** Whoever was refused comes again within a minute. */
const MAX_TOOK_MS = 20 * 60_000;

type GuestRecord = Readonly<Record<"appId" | "instanceId" | "bootKey" | "publicKey", string>>;

interface StormResult {
  readonly tookMs: number;
  /** Reasons of refused attempts, and how often there was each. */
  readonly refused: readonly (readonly [why: string, times: number])[];
  /** Of the attempts that were not refused. */
  readonly slowestMs: number;
}

/** Of thousands of registered instances, hundreds register again within seconds; everything else is answered meanwhile. */
export const storm: Scenario = {
  about: `of ${INSTANCES} registered instances, ${GUESTS} register again within seconds: health, operators and new connections meanwhile`,
  run: () =>
    withDirectory(async (directory) => {
      const sources = Array.from({ length: HOSTS }, (_, n) => `192.0.2.${n + 1}`);
      for (const source of sources) execFileSync("ip", ["address", "replace", `${source}/32`, "dev", "lo"]);
      const caFile = join(directory, "ca.pem");
      await writeFile(caFile, ca.certPem);
      const urls = sources.map((source) => `https://${source}:${RPC_PORT}`).join(",");
      await using guests = startProgram("storm-guests.ts", String(GUESTS), caFile, NAME, urls);
      const records = (await guests.next()) as GuestRecord[];
      let address = "";
      return await withTproxy(
        "native",
        async (registry) => {
          for (const record of records) await registerAs(registry, record);
          for (const id of makeIds(INSTANCES - GUESTS)) await registerSilent(registry, id);
          await registerSilent(registry, APP);
          address = takeAddress(registry, APP);
        },
        (tproxy) => watchStorm(guests, tproxy, address),
      );
    }),
};

async function registerAs(registry: InstanceRegistry, record: GuestRecord): Promise<void> {
  const { appId, instanceId, bootKey, publicKey } = record;
  const ids = { appId: parseAppId(appId), instanceId: parseInstanceId(instanceId) };
  await registry.register({ ...ids, bootKey, publicKey: parsePublicKey(publicKey), again: false });
}

async function watchStorm(guests: Program, tproxy: TproxyProgram, address: string): Promise<Finding> {
  const app = createServer((_request, response) => response.end("here")).listen(APP_PORT, address);
  await once(app, "listening");
  await using admin = unixTransport(tproxy.adminSocket, { headers: tproxy.adminHeaders });
  const operator = createClient(tproxyAdmin.TproxyAdmin, admin);
  const { program } = tproxy;
  await program.ask("");
  const before = cpuSeconds([program.pid]);
  const over = new AbortController();
  const silences = Promise.all(
    [
      () => answers({ port: RPC_PORT, path: "/healthz" }),
      () => operator.listInstances({}).then(() => true),
      () => answers({ port: PROXY_PORT, path: "/", servername: nameOf(APP, APP_PORT) }),
    ].map((ask) => longestSilence(ask, over.signal)),
  );
  const { tookMs, refused, slowestMs } = (await guests.ask(String(BEGIN_WITHIN_S))) as StormResult;
  over.abort();
  const eachMs = ((cpuSeconds([program.pid]) - before) / GUESTS) * 1000;
  const silent = await silences;
  const [health, operators, connections] = silent;
  const loop = (await program.ask("")) as Record<"p99Ms" | "longestMs", number>;
  app.close();
  const reasons = refused.map(([why, times]) => `${times} ${why}`).join("; ");
  return {
    passed: eachMs <= MAX_CPU_MS_EACH && Math.max(...silent) <= MAX_SILENT_MS && tookMs <= MAX_TOOK_MS,
    facts:
      `${GUESTS} of ${INSTANCES} instances registered again from ${HOSTS} hosts, begun within ${BEGIN_WITHIN_S} s: ${eachMs.toFixed(1)} ms of CPU each; ` +
      `${reasons === "" ? "no attempt refused" : `refused attempts, which came again within a minute: ${reasons}`}; the slowest other took ${seconds(slowestMs)} s, all ${seconds(tookMs)} s; ` +
      `longest time without an answer: about health ${seconds(health)} s, to an operator ${seconds(operators)} s, of an app over a new connection ${seconds(connections)} s; ` +
      `the event loop's delay was ${loop.p99Ms.toFixed(0)} ms at p99 and ${loop.longestMs.toFixed(0)} ms at most`,
  };
}

const seconds = (ms = Number.NaN): string => (ms / 1000).toFixed(1);

/**
 * Asks once a second until the signal aborts; a question that is refused is asked again.
 * @returns the longest time without an answer, from the question, in milliseconds
 */
async function longestSilence(ask: () => Promise<boolean>, signal: AbortSignal): Promise<number> {
  let longest = 0;
  let asked = performance.now();
  while (!signal.aborted) {
    const answered = await ask().catch(() => false);
    longest = Math.max(longest, performance.now() - asked);
    await sleep(1_000);
    if (answered) asked = performance.now();
  }
  return longest;
}
