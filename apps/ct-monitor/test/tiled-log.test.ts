import { generateKeyPairSync } from "node:crypto";
import { readFile } from "node:fs/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { CtMonitorConfigInput } from "../src/index.js";
import { leafInput, tileLeaf } from "./log-server.js";
import { Site, issue } from "./site.js";
import type { Issued } from "./site.js";

let site: Site;
let own: Issued;
beforeEach(async () => {
  site = await Site.start();
  own = await issue();
  await site.tproxy.tell(own);
});
afterEach(() => site[Symbol.asyncDispose]());

const tiled = (start: "now" | "beginning" = "beginning"): Partial<CtMonitorConfigInput> => ({
  log: [{ url: site.log.url, monitoring_url: site.log.url, public_key: site.log.publicKey, start }],
});
const check = (start?: "now" | "beginning") => site.check(tiled(start));
const quiet = { alerts: [], failures: [] };

const fill = (count: number): void => {
  for (let i = 0; i < count; i += 1) site.log.addLeaf(leafInput(own.der, "x509", site.log.size));
};
const scanned = async (): Promise<unknown> => {
  const { logs } = JSON.parse(await readFile(site.stateFile, "utf8")) as { logs: Record<string, unknown> };
  return Object.values(logs)[0];
};
const flip = (bytes: Uint8Array, at: number): Uint8Array =>
  bytes.map((byte, i) => (i === at ? byte ^ 1 : byte));

/** The lie is an alert that stays, nothing after it was believed, and with the truth it goes on where it was. */
async function expectLie(message: RegExp, believed: number): Promise<void> {
  const { alerts, failures } = await check();
  expect(alerts.map(({ kind }) => kind)).toEqual(["lie"]);
  expect(alerts[0]?.message).toMatch(message);
  expect(failures).toHaveLength(1);
  expect(await scanned()).toMatchObject({ scanned: { size: believed } });
}

describe("C3: a tiled log", () => {
  it("C3: is read tile by tile and goes on where it was, however the tree grows", async () => {
    for (const more of [0, 1, 5, 249, 1, 1, 300, 20]) {
      fill(more);
      expect(await check()).toEqual(quiet);
      expect(await scanned()).toMatchObject({ scanned: { size: site.log.size } });
    }
    const data = site.log.asked.filter((path) => path.startsWith("tile/data/"));
    expect(data).toEqual([
      "tile/data/000.p/1",
      "tile/data/000.p/6",
      "tile/data/000.p/255",
      "tile/data/000",
      "tile/data/001.p/1",
      "tile/data/001",
      "tile/data/002.p/45",
      "tile/data/002.p/65",
    ]);
    expect(site.log.asked.some((path) => path.startsWith("get-"))).toBe(false);
  });

  it("C3: a rogue certificate and a rogue precertificate in it are alerts, packed or not", async () => {
    for (const gzip of [false, true]) {
      site.log.gzip = gzip;
      fill(100);
      site.log.add((await issue()).der, gzip ? "precert" : "x509");
      fill(10);
      const { alerts } = await check();
      expect(alerts.map(({ kind }) => kind)).toEqual(gzip ? ["unknown_key", "unknown_key"] : ["unknown_key"]);
    }
    expect(await scanned()).toMatchObject({ scanned: { size: 222 } });
  });

  it("C3: begins at the end with a proof made of tiles, and reads on from there", async () => {
    fill(700);
    expect(await check("now")).toEqual(quiet);
    expect(site.log.asked.filter((path) => path.startsWith("tile/data/"))).toEqual(["tile/data/002.p/188"]);
    site.log.add((await issue()).der);
    expect((await check("now")).alerts.map(({ kind }) => kind)).toEqual(["unknown_key"]);
  });

  it("takes the full tile where the partial one is gone by now", async () => {
    fill(200);
    const before = site.log.checkpoint();
    fill(200);
    site.log.fileLie = (path, truth) => (path === "checkpoint" ? Buffer.from(before) : truth);
    expect(await check()).toEqual(quiet);
    expect(await scanned()).toMatchObject({ scanned: { size: 200 } });
    site.log.fileLie = undefined;
    expect(await check()).toEqual(quiet);
    expect(await scanned()).toMatchObject({ scanned: { size: 400 } });
  });

  it("C3: a checkpoint that another key signed", async () => {
    fill(3);
    const { privateKey: key } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const forged = site.log.checkpoint(site.log.head(3, { key }));
    site.log.fileLie = (path, truth) => (path === "checkpoint" ? Buffer.from(forged) : truth);
    const { alerts } = await check();
    expect(alerts[0]?.message).toMatch(/not signed by this log/);
  });

  it("C3: other entries than those it signed", async () => {
    fill(300);
    site.log.add((await issue()).der);
    fill(3);
    const others = Array.from({ length: 48 }, () => tileLeaf(leafInput(own.der, "x509", 1)));
    site.log.fileLie = (path, truth) => (path === "tile/data/001.p/48" ? Buffer.concat(others) : truth);
    await expectLie(/other entries than those it signed/, 0);
    site.log.fileLie = undefined;
    expect((await check()).alerts.map(({ kind }) => kind)).toEqual(["lie", "unknown_key"]);
  });

  it("C3: a tree that does not continue the one before, whatever tiles it shows", async () => {
    fill(10);
    await check();
    site.log.rewind(5);
    for (let i = 0; i < 300; i += 1) site.log.addLeaf(leafInput(own.der, "x509", 9000 + i));
    await expectLie(/does not continue/, 10);
  });

  it("C3: a tile of hashes that are not the tree's", async () => {
    fill(10);
    await check();
    fill(300);
    site.log.fileLie = (path, truth) => (path === "tile/0/000" && truth ? flip(truth, 9 * 32) : truth);
    await expectLie(/does not continue/, 10);
    site.log.fileLie = undefined;
    await check();
    expect(await scanned()).toMatchObject({ scanned: { size: 310 } });
  });

  it("what is no answer is told, and is no lie: another log's checkpoint, missing tiles, a bomb", async () => {
    fill(300);
    const failureOf = async (lie: typeof site.log.fileLie): Promise<string | undefined> => {
      site.log.fileLie = lie;
      const { alerts, failures } = await check();
      expect(alerts).toEqual([]);
      return failures[0];
    };
    const other = Buffer.from(site.log.checkpoint().replaceAll("127.0.0.1", "localhost"));
    expect(await failureOf((path, truth) => (path === "checkpoint" ? other : truth))).toMatch(
      /is of the log/,
    );
    expect(await failureOf((path, truth) => (path === "checkpoint" ? truth : undefined))).toMatch(
      /status 404/,
    );
    site.log.gzip = true;
    const bomb = new Uint8Array(2 ** 20);
    expect(await failureOf((path, truth) => (path === "checkpoint" ? bomb : truth))).toMatch(
      /more than 65536/,
    );
    site.log.fileLie = undefined;
    expect(await check()).toEqual(quiet);
  });
});
