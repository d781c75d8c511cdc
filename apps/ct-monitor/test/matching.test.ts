import { DER, DerReader, concatBytes } from "@dstack/core";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DOMAIN, Site, issue } from "./site.js";

let site: Site;
beforeEach(async () => {
  site = await Site.start();
});
afterEach(() => site[Symbol.asyncDispose]());

describe("which certificates are the domain's", () => {
  it.each([
    [DOMAIN],
    [`*.${DOMAIN}`],
    [`ABC.${DOMAIN.toUpperCase()}`],
    ["*.example.org"],
    ["unrelated.test", `deep.below.${DOMAIN}`],
  ])("C3: %s", async (...names) => {
    site.log.add((await issue(names)).der);
    site.log.add((await issue(names)).der, "precert");
    expect((await site.check()).alerts).toHaveLength(2);
  });

  it("and which are not", async () => {
    for (const name of ["example.org", `not${DOMAIN}`, `${DOMAIN}.evil.test`, "*.org"]) {
      site.log.add((await issue([name])).der);
    }
    expect(await site.check()).toEqual({ alerts: [], failures: [] });
  });

  it("C3: certificate and precertificate are one alert", async () => {
    const rogue = await issue();
    site.log.add(rogue.der, "precert");
    site.log.add(rogue.der);
    expect((await site.check()).alerts).toHaveLength(1);
  });

  it("C3: goes on after a finding, and finds the next one", async () => {
    const own = await issue();
    await site.tproxy.tell(own);
    site.log.add((await issue()).der);
    for (let i = 0; i < 100; i += 1) site.log.add(own.der);
    site.log.add((await issue()).der);
    expect((await site.check()).alerts).toHaveLength(2);
    site.log.add((await issue()).der);
    expect((await site.check()).alerts).toHaveLength(3);
  });

  it("C3: an alert stays until a person acknowledges it, and only that one goes", async () => {
    site.log.add((await issue()).der);
    site.log.add((await issue()).der);
    const [first, second] = (await site.check()).alerts;
    expect((await site.check()).alerts).toEqual([first, second]);
    const acknowledged = [first?.id ?? ""];
    expect((await site.check({ acknowledged })).alerts).toEqual([second]);
  });

  it("C3: what mentions the domain and cannot be read is an alert; what does not is none", async () => {
    const { der } = await issue();
    const broken = Buffer.from(der);
    broken[broken.indexOf(DOMAIN) - 3] = 0; // another length for the name
    site.log.add(broken);
    const certificate = new DerReader(new DerReader(der, "test").next(DER.sequence).content, "test");
    const tbs = certificate.next(DER.sequence).whole;
    site.log.addLeaf(concatBytes(Uint8Array.of(1, 0), tbs)); // a version nobody knows
    site.log.addLeaf(new TextEncoder().encode("nonsense"));
    const { alerts, failures } = await site.check();
    expect(alerts.map(({ kind }) => kind)).toEqual(["unreadable", "unreadable"]);
    expect(failures).toEqual([]);
  });

  it("C3: a name with a zero byte in it, which some read as its end, is an alert", async () => {
    const { der } = await issue([`${DOMAIN}.x.test`]);
    const cut = Buffer.from(der);
    cut[cut.indexOf(DOMAIN) + DOMAIN.length] = 0;
    site.log.add(cut);
    expect((await site.check()).alerts.map(({ kind }) => kind)).toEqual(["unreadable"]);
  });

  it("certificates that ended before `since` are not judged, and others are, backdated or not", async () => {
    site.log.add((await issue(undefined, new Date(Date.now() - 5 * 86_400_000))).der);
    site.log.add((await issue(undefined, new Date(Date.now() - 1 * 86_400_000))).der);
    const since = new Date(Date.now() - 3 * 86_400_000).toISOString();
    expect((await site.check({ since })).alerts).toHaveLength(1);
  });
});
