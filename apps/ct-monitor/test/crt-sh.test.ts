import { hex, sha256 } from "@dstack/core";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DOMAIN, Site, issue } from "./site.js";
import type { CtMonitorConfigInput } from "../src/index.js";

let site: Site;
let only: Partial<CtMonitorConfigInput>;
beforeEach(async () => {
  site = await Site.start();
  only = { log: [], crt_sh: { url: site.crtSh.url } };
});
afterEach(() => site[Symbol.asyncDispose]());

describe("crt.sh", () => {
  it("C3: finds certificates of the domain, below it and above it, and asks for each once", async () => {
    const own = await issue();
    await site.tproxy.tell(own);
    site.crtSh.add(own.pem);
    for (const names of [[DOMAIN], [`x.${DOMAIN}`], ["*.example.org"], ["other.example.org"]]) {
      site.crtSh.add((await issue(names)).pem);
    }
    expect((await site.check(only)).alerts).toHaveLength(3);
    site.crtSh.asked.length = 0;
    expect((await site.check(only)).alerts).toHaveLength(3);
    expect(site.crtSh.asked.filter((query) => query.startsWith("?d="))).toEqual([]);
  });

  it("C3: one certificate that cannot be had does not hide the others, and is tried again", async () => {
    const first = site.crtSh.add((await issue()).pem);
    site.crtSh.add((await issue()).pem);
    site.crtSh.lie = (url) => (url.searchParams.get("d") === String(first) ? 502 : undefined);
    const { alerts, failures } = await site.check(only);
    expect([alerts.length, failures.length]).toEqual([1, 1]);
    site.crtSh.lie = undefined;
    expect(await site.check(only)).toMatchObject({ alerts: [{}, {}], failures: [] });
  });

  it("C3: another certificate than the listed one is a lie: of other names, of another serial number", async () => {
    const [rogue, own, stranger] = [await issue(), await issue(), await issue(["stranger.test"])];
    await site.tproxy.tell(own);
    site.crtSh.add(rogue.pem);
    for (const given of [stranger.pem, own.pem]) {
      site.crtSh.lie = (url) => (url.searchParams.has("d") ? given : undefined);
      const { alerts } = await site.check(only);
      expect(alerts.map(({ kind }) => kind)).toEqual(["lie"]);
    }
    site.crtSh.lie = undefined;
    const { alerts } = await site.check(only);
    expect(alerts.map(({ facts }) => facts["key_sha256"])).toContain(hex(sha256(rogue.spki)));
  });

  it.each([
    ["503", 503],
    ["nonsense", "<html>"],
    ["another form", "[{}]"],
    ["no list", "null"],
  ])("an answer of %s is a failure and not the end", async (_, answer) => {
    site.log.add((await issue()).der);
    site.crtSh.lie = () => answer;
    const { alerts, failures } = await site.check({ crt_sh: { url: site.crtSh.url } });
    expect([alerts.length, failures.length]).toEqual([1, 1]);
  });
});
