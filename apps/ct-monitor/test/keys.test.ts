import { CertificateAuthority, generateP256 } from "@dstack/ra-tls";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DOMAIN, Site, issue, kmsRoot } from "./site.js";
import { hex, sha256 } from "@dstack/core";
import { rm, writeFile } from "node:fs/promises";
import { join } from "node:path";

let site: Site;
beforeEach(async () => {
  site = await Site.start();
});
afterEach(() => site[Symbol.asyncDispose]());

describe("known keys", () => {
  it("C3: a key counts by its quote: certificates for it are fine, in a log as certificate and as precertificate", async () => {
    const own = await issue();
    await site.tproxy.tell(own);
    site.log.add(own.der, "precert");
    site.log.add(own.der);
    expect(await site.check()).toEqual({ alerts: [], failures: [] });
    expect(site.lines.filter((line) => line.includes("✅ checked"))).toHaveLength(2);
  });

  it("C3: tproxy's word alone makes no key known: no evidence, another app's, over another key, forged", async () => {
    const [none, otherApp, otherKey, forged] = [await issue(), await issue(), await issue(), await issue()];
    await site.tproxy.tell(none);
    await site.tproxy.tell(otherApp, "an app of the operator's, in a real guest, under tproxy's app id");
    await site.tproxy.tell(otherKey);
    await site.tproxy.tell(forged);
    const [first, , third, fourth] = site.tproxy.keys;
    if (first === undefined || third === undefined || fourth === undefined) throw new Error("no keys");
    const swapped = { ...third, evidence: fourth.evidence };
    const broken = { ...fourth, evidence: { ...fourth.evidence, quote: "00".repeat(600) } };
    site.tproxy.keys = [{ ...first, evidence: undefined }, ...site.tproxy.keys.slice(1, 2), swapped, broken];
    for (const { der } of [none, otherApp, otherKey, forged]) site.log.add(der);
    const { alerts } = await site.check();
    expect(alerts.map(({ kind, facts }) => [kind, facts["key_sha256"]])).toEqual(
      [none, otherApp, otherKey, forged].map(({ spki }) => ["unknown_key", hex(sha256(spki))]),
    );
    expect(site.lines.filter((line) => line.includes("has no good evidence"))).toHaveLength(4);
  });

  it("C3: tproxy's own document in a guest of another KMS makes no key known: that KMS can read the guest's disk", async () => {
    const [rogue, own] = [await issue(), await issue()];
    const operators = await CertificateAuthority.create({ commonName: "KMS root" });
    await site.tproxy.tell(rogue, undefined, operators.certPem);
    await site.tproxy.tell(own);
    site.log.add(rogue.der);
    site.log.add(own.der);
    const { alerts } = await site.check();
    expect(alerts.map(({ facts }) => facts["key_sha256"])).toEqual([hex(sha256(rogue.spki))]);
    // Where that KMS is the one that is meant, its guests count and no others.
    const path = join(site.dir, "operators.pem");
    await writeFile(path, operators.certPem);
    await rm(site.stateFile);
    const others = await site.check({ kms_ca: path });
    expect(others.alerts.map(({ facts }) => facts["key_sha256"])).toEqual([hex(sha256(own.spki))]);
  });

  it("C3: one bad key does not keep the others from being known", async () => {
    const [bad, good] = [await issue(), await issue()];
    site.tproxy.keys.push({ key: hex(bad.spki), evidence: { quote: "zz" } });
    await site.tproxy.tell(good);
    site.log.add(good.der);
    expect((await site.check()).alerts).toEqual([]);
  });

  it("verifies a key once: afterwards only new ones are asked about", async () => {
    await site.tproxy.tell(await issue());
    await site.check();
    await site.tproxy.tell(await issue());
    site.tproxy.asked.length = 0;
    await site.check();
    expect(site.tproxy.asked).toEqual(["keys", "evidence"]);
  });

  it("C3: takes keys only from a server that the KMS's root itself vouches for", async () => {
    const own = await issue();
    await site.tproxy.tell(own);
    site.log.add(own.der);
    const stranger = generateP256();
    const otherRoot = await kmsRoot.issue({
      publicKey: stranger.publicKey,
      commonName: "KMS root",
      ca: { pathLength: 0 },
      notAfter: new Date(Date.now() + 86_400_000),
    });
    const path = join(site.dir, "other-root.pem");
    await writeFile(path, otherRoot);
    const { alerts, failures } = await site.check({
      tproxy_ca: path,
      kms_ca: join(site.dir, "kms-root.pem"),
    });
    expect(failures).toEqual([expect.stringMatching(/^tproxy https:/)]);
    expect(alerts).toHaveLength(1);
  });

  it("C3: keys that an earlier configuration took on trust do not count where evidence is asked for", async () => {
    const own = await issue();
    site.tproxy.keys.push({ key: hex(own.spki), evidence: undefined });
    site.log.add(own.der);
    const trust = { insecure_keys_on_trust: true, attestation: undefined, tproxy_compose_hashes: [] };
    expect((await site.check(trust)).alerts).toEqual([]);
    expect(site.lines.join("\n")).toContain("INSECURE: keys are taken on tproxy's word");
    site.log.add((await issue([`other.${DOMAIN}`])).der);
    site.log.add(own.der, "precert");
    expect((await site.check()).alerts).toHaveLength(2);
  });

  it("a key that tproxy tells within the grace is no alert, and one that it never tells is", async () => {
    const [late, rogue] = [await issue(), await issue()];
    site.log.add(late.der, "precert");
    site.log.add(rogue.der);
    const started = Date.now();
    let asked = 0;
    const now = (): number => {
      asked += 1;
      return started + asked * 40;
    };
    const checking = site.check({ grace_secs: 1 }, { now });
    await site.tproxy.tell(late);
    const { alerts } = await checking;
    expect(alerts.map(({ facts }) => facts["key_sha256"])).toEqual([hex(sha256(rogue.spki))]);
  });

  it.each([
    ["no policy and no trust", { attestation: undefined, tproxy_compose_hashes: [] }],
    ["a policy without compose documents", { tproxy_compose_hashes: [] }],
    ["compose documents without a policy", { attestation: undefined }],
    ["both trust and evidence", { insecure_keys_on_trust: true }],
    ["evidence without a KMS", { tproxy_ca: undefined }],
    ["plain http", { tproxy_url: "http://127.0.0.1:1" }],
    ["no source", { log: [] }],
  ])("C3: does not start with %s", (_, changes) => {
    expect(() => site.config(changes)).toThrow();
  });
});
