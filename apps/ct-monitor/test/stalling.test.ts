import { mkdtemp, rm } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { once } from "node:events";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomBytes } from "node:crypto";
import { sleep } from "@dstack/core";
import { silentLogger } from "@dstack/daemon";
import type { PeerVerifier } from "@dstack/ra-tls";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { KnownKeys } from "../src/known-keys.js";
import type { KnownKeysOptions } from "../src/known-keys.js";
import { MonitorMetrics } from "../src/metrics.js";
import { Monitor } from "../src/monitor.js";
import type { Source } from "../src/sources/source.js";
import { MonitorState } from "../src/state.js";
import { DOMAIN, issue } from "./site.js";

let dir: string;
let state: MonitorState;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "ct-monitor-"));
  state = await MonitorState.open(join(dir, "state.json"), DOMAIN);
});
afterEach(() => rm(dir, { recursive: true, force: true }));

const log = silentLogger();
const now = Date.now;
const signal = new AbortController().signal;
const knownKeys = (
  urls: readonly string[],
  lookLimitMs?: number,
  more: Partial<KnownKeysOptions> = {},
): KnownKeys =>
  new KnownKeys(
    {
      tproxies: new Map(urls.map((url) => [url, undefined])),
      judge: { by: "evidence", verifier: {} as PeerVerifier, composeHashes: [], kmsCaHashes: [] },
      log,
      now,
      onRefused: () => {},
      lookLimitMs,
      ...more,
    },
    state,
  );

describe("C3: who answers without end", () => {
  it("C3: a tproxy that tells many keys and is slow about each is left alone after its time", async () => {
    let asked = 0;
    const keys = Array.from({ length: 1_000 }, () => randomBytes(91).toString("hex"));
    const server = createServer((request, response) => {
      if (request.url === "/.dstack/acme-info") return response.end(JSON.stringify({ hist_keys: keys }));
      asked += 1;
      return setTimeout(() => response.end("{}"), 50);
    }).listen(0, "127.0.0.1");
    await once(server, "listening");
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    await expect(knownKeys([url], 500).refresh(url, signal)).rejects.toThrow(/longer than 500 ms/);
    expect(asked).toBeLessThan(keys.length);
    server.closeAllConnections();
    server.close();
  });

  it("C3: a tproxy that makes up keys for each look fills no log, and the count of them is told", async () => {
    const server = createServer((request, response) => {
      if (request.url !== "/.dstack/acme-info") return response.writeHead(404).end();
      const keys = Array.from({ length: 50 }, () => randomBytes(91).toString("hex"));
      return response.end(JSON.stringify({ hist_keys: [standing, ...keys] }));
    }).listen(0, "127.0.0.1");
    const standing = randomBytes(91).toString("hex");
    await once(server, "listening");
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    const warned: string[] = [];
    const refused: number[] = [];
    const told = Object.assign(silentLogger(), {
      warn: (_: unknown, sentence?: string): void => void warned.push(sentence ?? ""),
    });
    const known = knownKeys([url], 600_000, { log: told, onRefused: (_, count) => void refused.push(count) });
    for (let look = 0; look < 3; look += 1) await known.refresh(url, signal);
    server.closeAllConnections();
    server.close();
    expect(refused).toEqual([51, 51, 51]);
    // One by one, what came new with each look, and one sentence for the rest: the standing one is told once.
    expect(warned.filter((line) => line.startsWith("a key that tproxy tells"))).toHaveLength(3 * 20);
    const more = (count: number): string => `${count} more keys of this tproxy have no good evidence`;
    expect(warned.filter((line) => line.includes("more keys"))).toEqual([more(31), more(30), more(30)]);
  });

  it("C3: a source that is never read to its end keeps no other one from being read again", async () => {
    const rogue = await issue();
    let looks = 0;
    const endless: Source = { name: "endless", scan: (_watch, limit) => sleep(3_600_000, limit) };
    const honest: Source = {
      name: "honest",
      async scan(watch) {
        looks += 1;
        if (looks === 2) watch.certificate({ der: rogue.der, kind: "x509", where: "honest entry 1" });
      },
    };
    const options = {
      domain: DOMAIN,
      graceMs: 0,
      blindAfterMs: 3_600_000,
      since: 0,
      acknowledged: [],
      tell: undefined,
      now,
      log,
      metrics: new MonitorMetrics(),
      scanLimitMs: 200,
    };
    const monitor = new Monitor(options, state, knownKeys([]), [endless, honest]);
    for (let look = 0; look < 2; look += 1) {
      expect(await monitor.pass(signal)).toEqual([expect.stringMatching(/^endless: .*longer than 200 ms/)]);
    }
    await monitor.settle(signal);
    expect(monitor.alerts.open().map(({ kind }) => kind)).toEqual(["unknown_key"]);
  });
});
