import { readFile, writeFile } from "node:fs/promises";
import { hex, sha256 } from "@dstack/core";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { CompactTree } from "@dstack/ct";
import { MonitorState } from "../src/state.js";
import { DOMAIN, Site, issue } from "./site.js";

let site: Site;
beforeEach(async () => {
  site = await Site.start();
});
afterEach(() => site[Symbol.asyncDispose]());

describe("the state file", () => {
  it.each([
    ["half a file", (text: string) => text.slice(0, text.length / 2)],
    ["an empty file", () => ""],
    ["another version", (text: string) => text.replace('"version":1', '"version":2')],
    ["another domain's", (text: string) => text.replaceAll(DOMAIN, "other.test")],
    [
      "a place that does not fit its hashes",
      (text: string) => text.replace('"scanned":{"size":1', '"scanned":{"size":3'),
    ],
  ])("C3: %s stops with a sentence: beginning anew would skip what was logged", async (_, damage) => {
    site.log.add((await issue(["unrelated.test"])).der);
    await site.check();
    await writeFile(site.stateFile, damage(await readFile(site.stateFile, "utf8")));
    await expect(site.check()).rejects.toThrow(/is damaged|is the state for|subtrees/);
  });

  it("C3: never goes back in a log", async () => {
    const state = await MonitorState.open(site.stateFile, DOMAIN);
    const tree = new CompactTree();
    for (let i = 0; i < 5; i += 1) tree.append(sha256(String(i)));
    const at = (size: number, scanned: CompactTree) => ({
      head: { size, root: sha256("x"), timestamp: 1 },
      scanned,
    });
    state.setLog("00".repeat(32), at(9, tree));
    expect(() => state.setLog("00".repeat(32), at(8, tree))).toThrow(RangeError);
    expect(() => state.setLog("00".repeat(32), at(9, new CompactTree()))).toThrow(RangeError);
  });

  it("C3: what was found before a place is never written after the place", async () => {
    const rogue = await issue();
    site.log.batch = 8;
    for (let i = 0; i < 5000; i += 1) site.log.addLeaf(new TextEncoder().encode(String(i)));
    site.log.add(rogue.der);
    const seen: [number, number][] = [];
    site.log.lie = (method, truth) => {
      // Each question looks at what would be there after a kill -9 at this moment.
      if (method === "get-entries") snapshots.push(readFile(site.stateFile, "utf8").catch(() => ""));
      return truth;
    };
    const snapshots: Promise<string>[] = [];
    await site.check();
    for (const text of await Promise.all(snapshots)) {
      if (text === "") continue;
      const { logs, alerts } = JSON.parse(text) as {
        logs: Record<string, { scanned: { size: number } }>;
        alerts: unknown[];
      };
      seen.push([Object.values(logs)[0]?.scanned.size ?? 0, alerts.length]);
    }
    expect(seen.some(([place]) => place === 4096)).toBe(true);
    expect(seen.every(([place, alerts]) => place <= 5000 || alerts === 1)).toBe(true);
    const last = JSON.parse(await readFile(site.stateFile, "utf8")) as {
      alerts: { facts: Record<string, string> }[];
    };
    expect(last.alerts[0]?.facts["key_sha256"]).toBe(hex(sha256(rogue.spki)));
  });

  it("two monitors do not share one", async () => {
    site.log.lie = () => "hang";
    const stop = new AbortController();
    const { checkOnce } = await import("../src/index.js");
    const first = checkOnce(site.config(), stop.signal, await site.parts()).catch(() => {});
    await expect.poll(() => site.log.asked.length).toBeGreaterThan(0);
    await expect(site.check()).rejects.toThrow(/another ct-monitor works with/);
    stop.abort();
    await first;
  });
});
