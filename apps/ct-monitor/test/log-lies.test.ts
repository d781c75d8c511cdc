import { generateKeyPairSync } from "node:crypto";
import { readFile } from "node:fs/promises";
import { hex, sha256 } from "@dstack/core";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { AlertBook, alertId } from "../src/alerts.js";
import { leafInput } from "./log-server.js";
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

const fill = (count: number): void => {
  for (let i = 0; i < count; i += 1) site.log.addLeaf(leafInput(own.der, "x509", i));
};
const scanned = async (): Promise<unknown> => {
  const { logs } = JSON.parse(await readFile(site.stateFile, "utf8")) as { logs: Record<string, unknown> };
  return Object.values(logs)[0];
};
const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");

/** Lies once, then twice, tells the truth again: the alert stays, the place was kept, and nothing was skipped. */
async function expectLie(code: RegExp, changes: Parameters<Site["check"]>[0] = {}): Promise<void> {
  const { alerts, failures } = await site.check(changes);
  expect(alerts.map(({ kind }) => kind)).toEqual(["lie"]);
  expect(alerts[0]?.message).toMatch(code);
  expect(failures).toHaveLength(1);
  expect((await site.check(changes)).alerts).toEqual(alerts);
}

describe("C3: a log that lies is itself an alert", () => {
  it("C3: reads a log in batches and goes on where it was, however the tree grows", async () => {
    for (const more of [0, 1, 2, 1, 60, 100, 3]) {
      fill(more);
      expect(await site.check()).toEqual({ alerts: [], failures: [] });
      expect(await scanned()).toMatchObject({
        head: { size: site.log.size },
        scanned: { size: site.log.size },
      });
    }
    const read = site.log.asked.filter((question) => question.startsWith("get-entries"));
    expect(read.at(-1)).toContain("start=164&end=166");
  });

  it("C3: a head that another key signed", async () => {
    fill(3);
    const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    site.log.lie = (method, truth) => (method === "get-sth" ? site.log.head(3, { key: privateKey }) : truth);
    await expectLie(/not signed by this log/);
    site.log.lie = undefined;
    site.log.add((await issue()).der);
    expect((await site.check()).alerts.map(({ kind }) => kind)).toEqual(["lie", "unknown_key"]);
  });

  it("C3: a shorter log", async () => {
    fill(10);
    await site.check();
    site.log.rewind(8);
    await expectLie(/newer tree head of the log has fewer entries/);
    expect(await scanned()).toMatchObject({ head: { size: 10 }, scanned: { size: 10 } });
  });

  it("an older head of a server that lags behind is no lie", async () => {
    fill(10);
    const old = site.log.head(7, { timestamp: Date.now() - 60_000 });
    await site.check();
    site.log.lie = (method, truth) => (method === "get-sth" ? old : truth);
    expect(await site.check()).toEqual({ alerts: [], failures: [] });
    expect(await scanned()).toMatchObject({ head: { size: 10 } });
  });

  it("C3: an older head of another tree is a fork", async () => {
    fill(10);
    const forked = site.log.head(7, { timestamp: Date.now() - 60_000, root: sha256("another tree") });
    await site.check();
    site.log.lie = (method, truth) => (method === "get-sth" ? forked : truth);
    await expectLie(/does not continue/);
  });

  it("C3: two roots for one size", async () => {
    fill(10);
    await site.check();
    site.log.rewind(9);
    site.log.add((await issue(["unrelated.test"])).der);
    await expectLie(/two roots for one size/);
  });

  it("C3: a longer log that does not continue the one before", async () => {
    fill(10);
    await site.check();
    site.log.rewind(5);
    for (let i = 0; i < 20; i += 1) site.log.add((await issue(["unrelated.test"])).der);
    await expectLie(/does not continue/);
    expect(await scanned()).toMatchObject({ head: { size: 10 }, scanned: { size: 10 } });
  });

  it("C3: a rogue certificate that is in the signed tree, and another entry is given in its place", async () => {
    fill(6);
    site.log.add((await issue()).der);
    fill(6);
    site.log.lie = (method, truth, query) => {
      if (method !== "get-entries") return truth;
      const { entries } = truth as { entries: { leaf_input: string }[] };
      const at = 6 - Number(query.get("start"));
      return {
        entries: entries.map((entry, i) =>
          i === at ? { leaf_input: base64(leafInput(own.der, "x509", 1)) } : entry,
        ),
      };
    };
    await expectLie(/other entries than those it signed/);
    expect(await scanned()).toMatchObject({ scanned: { size: 0 } });
    site.log.lie = undefined;
    expect((await site.check()).alerts.map(({ kind }) => kind)).toEqual(["lie", "unknown_key"]);
  });

  it("C3: an entry that is left out", async () => {
    fill(20);
    site.log.lie = (method, truth, query) => {
      if (method !== "get-entries" || query.get("start") !== "0") return truth;
      return { entries: (truth as { entries: unknown[] }).entries.slice(1) };
    };
    await expectLie(/other entries than those it signed/);
  });

  it("C3: a rogue certificate is told of although other entries are lies", async () => {
    site.log.add((await issue()).der);
    fill(3);
    site.log.lie = (method, truth) => {
      if (method !== "get-entries") return truth;
      const { entries } = truth as { entries: unknown[] };
      return { entries: [...entries.slice(0, -1), { leaf_input: base64(leafInput(own.der, "x509", 99)) }] };
    };
    const { alerts } = await site.check();
    expect(alerts.map(({ kind }) => kind).toSorted()).toEqual(["lie", "unknown_key"]);
  });

  it("C3: a wrong consistency proof", async () => {
    fill(5);
    await site.check();
    fill(9);
    site.log.lie = (method, truth) =>
      method === "get-sth-consistency" ? { consistency: [base64(sha256("a")), base64(sha256("b"))] } : truth;
    await expectLie(/does not continue/);
  });

  it("C3: begins at the end with a proof of inclusion, and reads on from there", async () => {
    fill(13);
    const now = { log: [{ url: site.log.url, public_key: site.log.publicKey, start: "now" as const }] };
    site.log.lie = (method, truth) =>
      method === "get-proof-by-hash" ? { ...truth, audit_path: [base64(sha256("x"))] } : truth;
    await expectLie(/not proven to be in its tree/, now);
    site.log.lie = undefined;
    await site.check(now);
    expect(await scanned()).toMatchObject({ scanned: { size: 13 } });
    fill(4);
    site.log.add((await issue()).der);
    site.log.asked.length = 0;
    expect((await site.check(now)).alerts.map(({ kind }) => kind)).toEqual(["lie", "unknown_key"]);
    expect(site.log.asked).toContain("get-entries?start=13&end=17");
  });

  it("C3: a head that gets old: what is new may be hidden", async () => {
    fill(2);
    const old = site.log.head(2, { timestamp: Date.now() - 49 * 3_600_000 });
    site.log.lie = (method, truth) => (method === "get-sth" ? old : truth);
    await expectLie(/no new tree head/);
  });

  it("C3: a head of a time to come", async () => {
    fill(2);
    const ahead = site.log.head(2, { timestamp: Date.now() + 2 * 3_600_000 });
    site.log.lie = (method, truth) => (method === "get-sth" ? ahead : truth);
    await expectLie(/a time to come/);
  });

  it("C3: signs an empty tree that is not empty", async () => {
    site.log.lie = () => site.log.head(0, { root: sha256("full") });
    await expectLie(/not that of an empty tree/);
  });

  it.each([
    ["nonsense", "<html>"],
    ["a tree of no size", JSON.stringify({ tree_size: -1 })],
    ["an endless answer", " ".repeat(80_000)],
    ["a deep answer", "[".repeat(50_000)],
  ])("%s is a failure, and the rest is checked", async (_, text) => {
    fill(3);
    site.log.lie = () => text;
    const rogue = await issue();
    site.crtSh.add(rogue.pem);
    const { alerts, failures } = await site.check({ crt_sh: { url: site.crtSh.url } });
    expect(failures).toHaveLength(1);
    expect(alerts.map(({ facts }) => facts["key_sha256"])).toEqual([hex(sha256(rogue.spki))]);
  });

  it.each([
    ["no entries", { entries: [] }],
    ["no list", { entries: 3 }],
    ["too long an entry", { entries: [{ leaf_input: "A".repeat(24_000_000) }] }],
  ])("get-entries with %s is a failure", async (_, answer) => {
    fill(3);
    site.log.lie = (method, truth) => (method === "get-entries" ? answer : truth);
    expect((await site.check()).failures).toHaveLength(1);
    expect(await scanned()).toMatchObject({ scanned: { size: 0 } });
  });

  it("C3: entries so big that a batch of them is too long are read one after the other", async () => {
    site.log.batch = 256;
    for (let i = 0; i < 5; i += 1) site.log.addLeaf(new Uint8Array(15 * 2 ** 20).fill(i));
    site.log.add((await issue()).der);
    const { alerts, failures } = await site.check();
    expect([alerts.length, failures]).toEqual([1, []]);
  });

  it("C3: a source that cannot be checked for too long is an alert, and its end ends it", async () => {
    fill(1);
    site.log.lie = () => "down";
    const start = Date.now();
    expect((await site.check({}, { now: () => start })).alerts).toEqual([]);
    const later = (hours: number) => ({ now: () => start + hours * 3_600_000 });
    expect((await site.check({}, later(5))).alerts).toEqual([]);
    const blind = (await site.check({}, later(7))).alerts;
    expect(blind.map(({ kind }) => kind)).toEqual(["blind"]);
    site.log.lie = undefined;
    expect((await site.check({}, later(8))).alerts).toEqual([]);
  });

  it("C3: a source that goes blind again is another alert than the one that was acknowledged", async () => {
    fill(1);
    const start = Date.now();
    const at = (hours: number, acknowledged: string[] = []) =>
      site.check({ acknowledged }, { now: () => start + hours * 3_600_000 });
    site.log.lie = () => "down";
    await at(0);
    const first = (await at(7)).alerts.map(({ id }) => id);
    expect(first).toHaveLength(1);
    expect((await at(9, first)).alerts).toEqual([]);
    site.log.lie = undefined;
    expect((await at(10, first)).alerts).toEqual([]);
    site.log.lie = () => "down";
    expect((await at(11, first)).alerts).toEqual([]);
    expect((await at(17, first)).alerts.map(({ kind }) => kind)).toEqual(["blind"]);
  });

  it("C3: a clock that was ahead puts neither a blind spot off nor an unknown key", async () => {
    fill(1);
    const start = Date.now();
    const at = (hours: number) => site.check({ grace_secs: 1 }, { now: () => start + hours * 3_600_000 });
    await at(1000);
    site.log.lie = () => "down";
    await at(0);
    expect((await at(7)).alerts.map(({ kind }) => kind)).toContain("blind");

    const now = { value: start + 1e9 };
    const opened: string[] = [];
    const book = new AlertBook([], {
      graceMs: 1000,
      acknowledged: [],
      now: () => now.value,
      onOpen: ({ id }) => opened.push(id),
    });
    book.suspect("unknown_key", "0".repeat(16), "a key", { key_sha256: "x" });
    book.decide(() => false);
    expect(opened).toEqual([]);
    now.value = start;
    expect(book.nextDecision()).toBe(start);
    book.decide(() => false);
    expect(opened).toEqual(["0".repeat(16)]);
  });

  it("C3: a full book takes new alerts once old ones are acknowledged, and says each time that it is full", () => {
    const acknowledged: string[] = [];
    const now = { value: 0 };
    const book = new AlertBook([], { graceMs: 0, acknowledged, now: () => now.value++, onOpen: () => {} });
    const raise = (i: number) => {
      book.raise("unreadable", alertId(String(i)), "entry", {});
      return book.open().map(({ id }) => id);
    };
    for (let i = 0; i < 1010; i += 1) raise(i);
    expect(
      book
        .open()
        .map(({ kind }) => kind)
        .filter((kind) => kind === "overflow"),
    ).toHaveLength(1);
    acknowledged.push(
      ...book
        .open()
        .filter(({ kind }) => kind === "overflow")
        .map(({ id }) => id),
    );
    expect(book.open()).toHaveLength(1000);
    raise(2000);
    expect(book.open().filter(({ kind }) => kind === "overflow")).toHaveLength(1);
    acknowledged.push(...book.open().map(({ id }) => id));
    expect(raise(2001)).toEqual([alertId("2001")]);
  });

  it("C3: certificates as large as a log likes do not make the state too large to be read again", async () => {
    const book = new AlertBook([], { graceMs: 0, acknowledged: [], now: Date.now, onOpen: () => {} });
    book.raise("unknown_key", "0".repeat(16), "a key", { public_key: "ab".repeat(8 * 2 ** 20) });
    expect(JSON.stringify(book.all()).length).toBeLessThan(4096);
    expect(book.all()[0]?.facts["public_key"]).toMatch(/^(ab)+… \(16777216 characters\)$/);
  });

  it("more alerts than anybody reads are bounded, and that is said", async () => {
    const { der } = await issue(["zzzz.app.example.org"]);
    for (let i = 0; i < 1010; i += 1) {
      const one = Buffer.from(der);
      one.write(String(i).padStart(4, "0"), one.indexOf("zzzz"));
      one[one.indexOf(Buffer.from("0210", "hex")) + 10] = i & 0xff; // its serial number
      one[one.indexOf(Buffer.from("0210", "hex")) + 11] = i >> 8;
      site.log.add(one);
    }
    const { alerts } = await site.check();
    expect(alerts.length).toBe(1001);
    expect(alerts.at(-1)?.kind).toBe("overflow");
  });
});
