import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { connect } from "node:tls";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { describe, expect, it } from "vitest";
import { adminClient, adminSite } from "./admin-site.js";
import { BASE, idOf, register, start, writePair } from "./site.js";
import { startApp } from "./app.js";
import { startTappdSocket } from "./tappd-socket.js";

describe("connections", () => {
  it("are searched by name, id, source and state, and counted whatever is searched for", async () => {
    await using site = await adminSite();
    await using app = await startApp();
    await using server = await start(site, { dial: app.dial });
    await register(server, {}, generateKeyPair().publicKey);
    const visitors = [80, 8080].map((port) =>
      connect({
        port: server.proxyPort,
        host: "127.0.0.1",
        servername: `${idOf("instance")}-${port}.${BASE}`,
        rejectUnauthorized: false,
      }),
    );
    await Promise.all(visitors.map((visitor) => once(visitor, "data")));
    const admin = adminClient(server);
    const found = async (search: string, most = 0): Promise<number> =>
      (await admin.listConnections({ search, most })).connections.length;
    await expect.poll(() => found("RELAYING")).toBe(2);
    expect(await admin.listConnections({ search: "-8080." })).toMatchObject({
      open: 2,
      connections: [{ serverName: `${idOf("instance")}-8080.${BASE}` }],
    });
    expect(await found("127.0.0.1")).toBe(2);
    expect(await found(idOf("instance").slice(0, 8), 1)).toBe(1);
    expect(await found("elsewhere")).toBe(0);
    for (const visitor of visitors) visitor.destroy();
  });
});

describe("the certificate and its keys", () => {
  it("a key's quote is verified by this node's own rules, and says whose it is", async () => {
    await using site = await adminSite();
    await using tappd = await startTappdSocket(join(site.dir, "tappd.sock"), { app: "tproxy" });
    const account = join(site.dir, "acme-account.json");
    const caa = [`${BASE} CAA 0 issue "letsencrypt.org;accounturi=https://ca.test/1"`];
    await writeFile(account, JSON.stringify({ account_uri: "https://ca.test/1", caa }));
    const config = { ...site.config, tappd_socket: tappd.path, acme_account_file: account };
    await using server = await start({ ...site, config });
    await writePair(site.dir, "wildcard", `*.${BASE}`);
    const admin = adminClient(server);
    await admin.reloadCertificate({});
    const answer = await admin.getCertificate({});
    expect(answer).toMatchObject({
      baseDomains: [BASE],
      refusal: "",
      accountUri: "https://ca.test/1",
      caa,
      canQuote: true,
      numKeys: 2,
      keys: [
        { inUse: true, hasEvidence: true },
        { inUse: false, hasEvidence: true },
      ],
    });
    expect(Number(answer.notAfter)).toBeGreaterThan(Date.now());
    const digest = answer.keys[0]?.digest ?? "";
    expect(await admin.verifyKey({ digest })).toMatchObject({ refusal: "", appId: idOf("tproxy") });

    // The quote of the other key, under the name of this one.
    const evidence = (key: string): string => join(site.dir, "state/key-evidence", `${key}.json`);
    await writeFile(evidence(digest), await readFile(evidence(answer.keys[1]?.digest ?? "")));
    expect((await admin.verifyKey({ digest })).refusal).toMatch(/report data/);
    await expect(admin.verifyKey({ digest: "0".repeat(64) })).rejects.toMatchObject({ code: "not_found" });
  });

  it("on a plain host says that there is no quote", async () => {
    await using site = await adminSite();
    await using server = await start(site);
    const admin = adminClient(server);
    const { canQuote, accountUri, keys } = await admin.getCertificate({});
    expect({ canQuote, accountUri, keys }).toMatchObject({
      canQuote: false,
      accountUri: "",
      keys: [{ inUse: true, hasEvidence: false }],
    });
    expect(await admin.verifyKey({ digest: keys[0]?.digest ?? "" })).toMatchObject({
      refusal: "there is no quote for this key",
    });
  });
});

describe("P7: the audit log, read", () => {
  it("P7: is given page by page, newest first, with the end of its chain", async () => {
    await using site = await adminSite();
    await using server = await start(site);
    const admin = adminClient(server);
    expect(await admin.getAuditLog({})).toMatchObject({ entries: [], headSeq: -1n, broken: "" });
    await admin.drainNode({});
    await admin.resumeNode({});
    const first = await admin.getAuditLog({ limit: 3 });
    expect(first).toMatchObject({
      broken: "",
      headSeq: 3n,
      entries: [
        { seq: 3n, method: "ResumeNode", outcome: "done" },
        { seq: 2n, method: "ResumeNode", outcome: "asked", who: "alice", about: "tproxy" },
        { seq: 1n, method: "DrainNode", outcome: "done" },
      ],
    });
    expect(first.headHash).toMatch(/^[0-9a-f]{64}$/);
    const before = first.older;
    expect(before).toBeDefined();
    const second = await admin.getAuditLog({ limit: 3, ...(before !== undefined && { before }) });
    expect(second.entries).toMatchObject([{ seq: 0n, outcome: "asked" }]);
    expect(second.older).toBeUndefined();
    await expect(admin.getAuditLog({ limit: 501 })).rejects.toMatchObject({ code: "bad_request" });
  });

  it("P7: that was changed, cut or added to while tproxy runs is given to nobody as one that holds", async () => {
    await using site = await adminSite();
    const path = join(site.dir, "state/audit.log");
    await using server = await start(site);
    const admin = adminClient(server);
    await admin.drainNode({});
    const whole = await readFile(path, "utf8");
    for (const changed of [
      whole.replace('"alice"', '"mallo"'),
      whole.slice(0, whole.indexOf("\n") + 1),
      `${whole}${whole}`,
      "",
    ]) {
      await writeFile(path, changed);
      const { broken, entries } = await admin.getAuditLog({});
      expect(broken).toMatch(/entry/);
      expect(entries).toEqual([]);
    }
    await writeFile(path, whole);
    expect(await admin.getAuditLog({})).toMatchObject({ broken: "", entries: [{}, {}] });
  });
});
