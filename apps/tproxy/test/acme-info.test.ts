import { X509Certificate } from "node:crypto";
import { mkdir, readFile, readlink, rename, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { certificateKeyReportData } from "@dstack/attestation";
import { fromHex, hex, sha256 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { TproxyConfig } from "../src/index.js";
import type { Tproxy } from "../src/index.js";
import { getText } from "./http.js";
import { BASE, idOf, makeSite, serverPair, start, verifier, writePair } from "./site.js";
import type { Site } from "./site.js";
import { startTappdSocket } from "./tappd-socket.js";

interface AcmeInfo {
  account_uri: string;
  caa: string[];
  key_evidence: string;
  hist_keys: string[];
}

const json = async <T>(server: Tproxy, path: string): Promise<T> =>
  JSON.parse((await getText(server.url, path)).text) as T;
const info = (server: Tproxy): Promise<AcmeInfo> => json(server, "/.dstack/acme-info");
const evidencePath = (key: string): string => `/.dstack/acme-info/${hex(sha256(fromHex(key)))}`;

function inGuest(site: Site, tappdSocket: string): Site {
  return { ...site, config: TproxyConfig.parse({ ...site.input, tappd_socket: tappdSocket }) };
}

describe("/.dstack/acme-info", () => {
  it("has for each key a quote that anybody can verify, over that key only, and of our guest", async () => {
    await using site = await makeSite();
    await using tappd = await startTappdSocket(join(site.dir, "tappd.sock"), { app: "tproxy" });
    await using server = await start(inGuest(site, tappd.path));
    await writePair(site.dir, "wildcard", `*.${BASE}`);
    await server.reload();
    const { hist_keys: keys, key_evidence: kind } = await info(server);
    expect(keys).toHaveLength(2);
    expect(kind).toContain("quotes over");
    const judge = await verifier();
    for (const key of keys) {
      const found = await json<{ public_key: string; quote: string; event_log: string }>(
        server,
        evidencePath(key),
      );
      expect(found.public_key).toBe(key);
      const evidence = { quote: fromHex(found.quote), eventLog: found.event_log };
      const identity = await judge.verifyStatement(evidence, certificateKeyReportData(fromHex(key)));
      expect(identity.appId).toBe(idOf("tproxy"));
      const other = certificateKeyReportData(sha256("another key"));
      await expect(judge.verifyStatement(evidence, other)).rejects.toThrow(/report data/);
    }
    const { text } = await getText(server.url, "/metrics");
    expect(text).toMatch(/^tproxy_certificate_key_quoted 1$/m);
    expect((await getText(server.url, "/")).text).toContain("Each key has a quote of this guest");
  });

  it("keeps evidence over a restart, and asks for none twice", async () => {
    await using site = await makeSite();
    await using tappd = await startTappdSocket(join(site.dir, "tappd.sock"));
    for (const _ of [1, 2]) {
      await using server = await start(inGuest(site, tappd.path));
      const [key] = (await info(server)).hist_keys;
      expect((await getText(server.url, evidencePath(key ?? ""))).status).toBe(200);
      await server.reload();
    }
    expect(tappd.asked).toBe(1);
  });

  it("a tappd that fails does not keep the certificate from serving, and is asked again", async () => {
    await using site = await makeSite();
    await using tappd = await startTappdSocket(join(site.dir, "tappd.sock"));
    tappd.broken = true;
    await using server = await start(inGuest(site, tappd.path));
    const [key] = (await info(server)).hist_keys;
    expect((await getText(server.url, evidencePath(key ?? ""))).status).toBe(404);
    expect((await getText(server.url, "/metrics")).text).toMatch(/^tproxy_certificate_key_quoted 0$/m);
    tappd.broken = false;
    await server.reload();
    expect((await getText(server.url, evidencePath(key ?? ""))).status).toBe(200);
  });

  it("never makes evidence for a key that is history: it may have been used on a plain host", async () => {
    await using site = await makeSite();
    {
      await using plain = await start(site);
      expect((await info(plain)).key_evidence).toMatch(/^none: /);
      expect((await getText(plain.url, "/")).text).toContain("Keys have no quotes");
    }
    await writePair(site.dir, "wildcard", `*.${BASE}`);
    await using tappd = await startTappdSocket(join(site.dir, "tappd.sock"));
    await using server = await start(inGuest(site, tappd.path));
    const { hist_keys: keys } = await info(server);
    const statuses = await Promise.all(
      keys.map(async (key) => (await getText(server.url, evidencePath(key))).status),
    );
    expect(statuses).toEqual([404, 200]);
  });

  it.each(["..%2f..%2finstances", "0".repeat(64), "x"])("finds nothing under %s", async (digest) => {
    await using site = await makeSite();
    await using server = await start(site);
    expect((await getText(server.url, `/.dstack/acme-info/${digest}`)).status).toBe(404);
  });

  it("tells account and CAA as certbot wrote them", async () => {
    await using site = await makeSite();
    const file = join(site.dir, "acme-account.json");
    const caa = [`${BASE} CAA 0 issue "letsencrypt.org;accounturi=https://ca.test/1"`];
    await writeFile(file, JSON.stringify({ account_uri: "https://ca.test/1", accounts: [], caa }));
    const config = TproxyConfig.parse({ ...site.input, acme_account_file: file });
    await using server = await start({ ...site, config });
    expect(await info(server)).toMatchObject({ account_uri: "https://ca.test/1", caa });
    expect((await getText(server.url, "/")).text).toContain("accounturi=https://ca.test/1");
  });
});

describe("P6: a certificate that certbot keeps", () => {
  it("P6: is taken whole when `live` is swapped, however often it is looked at meanwhile", async () => {
    await using site = await makeSite();
    const put = async (name: string): Promise<void> => {
      const pair = await serverPair(`*.${BASE}`);
      await mkdir(join(site.dir, name));
      await writeFile(join(site.dir, name, "cert.pem"), pair.cert);
      await writeFile(join(site.dir, name, "key.pem"), pair.key);
    };
    const swap = async (name: string): Promise<void> => {
      await symlink(name, join(site.dir, "live.tmp"));
      await rename(join(site.dir, "live.tmp"), join(site.dir, "live"));
    };
    await put("v0");
    await swap("v0");
    const live = join(site.dir, "live");
    const proxy = {
      ...site.input.proxy,
      cert_chain: join(live, "cert.pem"),
      cert_key: join(live, "key.pem"),
    };
    await using server = await start({ ...site, config: TproxyConfig.parse({ ...site.input, proxy }) });
    for (let version = 1; version <= 15; version += 1) {
      await put(`v${version}`);
      // The swap falls anywhere between the reading of the two files.
      const looks = [server.reload(), swap(`v${version}`), server.reload()];
      await Promise.all(looks);
    }
    await server.reload();
    expect((await getText(server.url, "/metrics")).text).toMatch(/^tproxy_certificate_refused_total 0$/m);
    const pem = await readFile(join(site.dir, await readlink(live), "cert.pem"), "utf8");
    const spki = new X509Certificate(pem).publicKey.export({ format: "der", type: "spki" });
    expect((await info(server)).hist_keys.at(-1)).toBe(hex(spki));
  });

  it("P6: a file that is half written changes nothing, and serves once it is whole", async () => {
    await using site = await makeSite();
    await using server = await start(site);
    const [before] = (await info(server)).hist_keys;
    const pair = await serverPair(`*.${BASE}`);
    await writeFile(join(site.dir, "wildcard.key"), pair.key);
    for (const length of [0, 1, 30, 200, pair.cert.length - 2]) {
      await writeFile(join(site.dir, "wildcard.pem"), pair.cert.slice(0, length));
      await server.reload();
    }
    expect((await info(server)).hist_keys).toEqual([before]);
    await writeFile(join(site.dir, "wildcard.pem"), pair.cert);
    await server.reload();
    expect((await info(server)).hist_keys).toHaveLength(2);
  });
});
