import { describe, expect, it } from "vitest";
import { CustomDomains, parseServerName, parseTxtAddress } from "../src/index.js";
import type { ServerName } from "../src/index.js";

const id = "3327603e03f5bd1f830812ca4a789277fc31f577";
const missing = (): Error => Object.assign(new Error("no such name"), { code: "ENOTFOUND" });

function domain(text: string): ServerName {
  const name = parseServerName(text);
  if (name === undefined) throw new Error("no name");
  return name;
}

function zone(records: Record<string, string[][] | Error>) {
  const asked: string[] = [];
  const clock = { ms: 0 };
  const domains = new CustomDomains({
    now: () => clock.ms,
    resolveTxt: (name) => {
      asked.push(name);
      const answer = records[name] ?? missing();
      return answer instanceof Error ? Promise.reject(answer) : Promise.resolve(answer);
    },
  });
  return {
    asked,
    clock,
    domains,
    lookup: (name: string, source = "192.0.2.1") => domains.lookup(domain(name), source),
  };
}

describe("custom domains", () => {
  it("reads both prefixes, the older one first", async () => {
    const { lookup } = zone({
      "_tapp-address.a.example.com": [[`${id}:8043`]],
      "_dstack-app-address.a.example.com": [[`${id}:1`]],
      "_dstack-app-address.b.example.com": [[`${id}:44`, "3"]],
    });
    expect(await lookup("a.example.com")).toEqual({ id, port: 8043 });
    expect(await lookup("b.example.com")).toEqual({ id, port: 443 });
    expect(await lookup("c.example.com")).toBeUndefined();
  });

  it("P2: takes a wildcard of the parent for names without a record of their own, one label deep", async () => {
    const failed = Object.assign(new Error("refused"), { code: "EREFUSED" });
    const { lookup, asked } = zone({
      "_tapp-address-wildcard.example.com": [[`${id}:1`]],
      "_dstack-app-address-wildcard.example.com": [[`${id}:2`]],
      "_dstack-app-address-wildcard.new.example.com": [[`${id}:3`]],
      "_dstack-app-address.own.example.com": [[`${id}:4`]],
      "_dstack-app-address.broken.example.com": failed,
      "_tapp-address-wildcard.com": [[`${id}:5`]],
    });
    expect(await lookup("a.example.com")).toEqual({ id, port: 1 });
    expect(await lookup("a.new.example.com")).toEqual({ id, port: 3 });
    expect(await lookup("own.example.com")).toEqual({ id, port: 4 });
    expect(await lookup("a.b.example.com")).toBeUndefined();
    expect(await lookup("broken.example.com")).toBeUndefined(); // it may have one of its own
    expect(await lookup("b.com")).toBeUndefined();
    expect(asked.filter((name) => name.endsWith("wildcard.com"))).toEqual([]);
  });

  it.each([
    `${id}:0`,
    `${id}:65536`,
    `${id}:080`,
    `${id}:`,
    id,
    `${id.toUpperCase()}:80`,
    ` ${id}:80`,
    `${id}:80 `,
    `${id}:80\n`,
    `${id.slice(1)}:80`,
    `10.0.0.1:80`,
    `https://${id}:80`,
  ])("P2: %j is no address", (text) => {
    expect(parseTxtAddress(text)).toBeUndefined();
  });

  it("P2: ignores other records and takes none of two addresses", async () => {
    const { lookup } = zone({
      "_tapp-address.a.example.com": [["v=spf1 -all"], [`${id}:8043`]],
      "_tapp-address.b.example.com": [[`${id}:8043`], [`${id}:8044`]],
    });
    expect(await lookup("a.example.com")).toEqual({ id, port: 8043 });
    expect(await lookup("b.example.com")).toBeUndefined();
  });

  it("P2: asks equal questions once and keeps answers, absence and failure for their time", async () => {
    const { lookup, asked, clock } = zone({
      "_tapp-address.a.example.com": [[`${id}:1`]],
      "_tapp-address.bad.example.com": new Error("servfail"),
    });
    await Promise.all([lookup("a.example.com"), lookup("a.example.com"), lookup("a.example.com")]);
    expect(asked).toHaveLength(2);
    const asksAgain = async (name: string): Promise<boolean> => {
      const before = asked.length;
      await lookup(name);
      return asked.length > before;
    };
    clock.ms = 59_000;
    expect(await asksAgain("a.example.com")).toBe(false);
    clock.ms = 60_001;
    expect(await asksAgain("a.example.com")).toBe(true);
    await lookup("none.example.com");
    await lookup("bad.example.com");
    clock.ms += 3_000;
    expect(await asksAgain("none.example.com")).toBe(false);
    expect(await asksAgain("bad.example.com")).toBe(true);
    clock.ms += 10_000;
    expect(await asksAgain("none.example.com")).toBe(true);
  });

  it("P2: lets one source cause twenty questions in ten seconds, and others go on", async () => {
    const { lookup, asked, clock } = zone({ "_tapp-address.good.example.com": [[`${id}:1`]] });
    for (let n = 0; n < 50; n++) await lookup(`n${n}.example.com`, "192.0.2.66");
    expect(asked).toHaveLength(80); // four names a question at most
    expect(await lookup("good.example.com", "192.0.2.66")).toBeUndefined();
    expect(await lookup("good.example.com", "192.0.2.1")).toEqual({ id, port: 1 });
    expect(await lookup("good.example.com", "192.0.2.66")).toEqual({ id, port: 1 }); // cached answers are free
    clock.ms += 10_000;
    await lookup("n99.example.com", "192.0.2.66");
    expect(asked).toContain("_tapp-address.n99.example.com");
  });

  it("P2: a source whose questions are never answered takes ten places, not those of others", async () => {
    const asked = new Set<string>();
    const domains = new CustomDomains({
      resolveTxt: (name) => {
        asked.add(name);
        return name.includes("slow") ? new Promise(() => {}) : Promise.resolve([[`${id}:1`]]);
      },
    });
    for (let n = 0; n < 20; n++) void domains.lookup(domain(`slow${n}.example.com`), "192.0.2.66");
    expect(asked.size).toBe(20); // two names a question
    expect(await domains.lookup(domain("a.example.com"), "192.0.2.66")).toBeUndefined();
    expect(await domains.lookup(domain("a.example.com"), "192.0.2.1")).toEqual({ id, port: 1 });
  });

  it("P2: a domain that was found stays reachable for an hour while strangers or DNS keep us from asking", async () => {
    const records: Record<string, string[][] | Error> = { "_tapp-address.a.example.com": [[`${id}:1`]] };
    const { lookup, clock } = zone(records);
    await lookup("a.example.com");
    clock.ms = 100_000;
    for (let n = 0; n < 20; n++) await lookup(`n${n}.example.com`);
    expect(await lookup("a.example.com")).toEqual({ id, port: 1 }); // this source must not ask
    records["_tapp-address.a.example.com"] = new Error("servfail");
    for (const ms of [200_000, 210_000, 3_599_000]) {
      clock.ms = ms;
      expect(await lookup("a.example.com")).toEqual({ id, port: 1 });
    }
    clock.ms = 3_610_000;
    expect(await lookup("a.example.com")).toBeUndefined();
  });

  it("P2: an address that was taken away is not used any longer", async () => {
    const records: Record<string, string[][]> = { "_tapp-address.a.example.com": [[`${id}:1`]] };
    const { lookup, clock } = zone(records);
    await lookup("a.example.com");
    delete records["_tapp-address.a.example.com"];
    clock.ms = 61_000;
    expect(await lookup("a.example.com")).toBeUndefined();
    for (let n = 0; n < 20; n++) await lookup(`n${n}.example.com`);
    clock.ms = 72_000;
    expect(await lookup("a.example.com")).toBeUndefined();
  });

  it("P2: asks no name that DNS cannot hold", async () => {
    const { lookup, asked } = zone({});
    const long = `${"a".repeat(60)}.${"b".repeat(60)}.${"c".repeat(60)}.${"d".repeat(56)}.ee`;
    expect(long.length).toBe(242);
    await lookup(long);
    expect(asked.filter((name) => name.length > 253)).toEqual([]);
    expect(asked.filter((name) => name.endsWith(long))).toEqual([]);
  });
});
