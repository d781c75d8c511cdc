import { X509Certificate } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { connect } from "node:tls";
import { hex, sha256 } from "@dstack/core";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { describe, expect, it } from "vitest";
import { TproxyConfig } from "../src/index.js";
import type { Tproxy } from "../src/index.js";
import { adminClient, adminSite } from "./admin-site.js";
import { getText } from "./http.js";
import { BASE, idOf, register, start, writePair } from "./site.js";
import type { Site } from "./site.js";

/** Routes and certificates take effect a moment after they were handed over. */
const PATIENCE = { timeout: 60_000, interval: 50 };

const NET = "app.example.net";

/** A site of two base domains, with a certificate for each. */
async function twoSites(): Promise<Site> {
  const site = await adminSite();
  await writePair(site.dir, "net", `*.${NET}`);
  const config = TproxyConfig.parse({
    ...site.input,
    admin: site.config.admin,
    proxy: {
      ...site.input.proxy,
      more_base_domains: [NET],
      more_certificates: [
        {
          cert_chain: join(site.dir, "net.pem"),
          cert_key: join(site.dir, "net.key"),
          acme_account_file: join(site.dir, "net-account.json"),
        },
      ],
    },
  });
  return { ...site, config };
}

const fingerprint = async (site: Site, name: string): Promise<string> =>
  new X509Certificate(await readFile(join(site.dir, `${name}.pem`), "utf8")).fingerprint256;

/** Of the certificate that a client is shown. */
function shown(server: Tproxy, base: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const servername = `${idOf("app")}.${base}`;
    const options = { port: server.proxyPort, host: "127.0.0.1", servername, rejectUnauthorized: false };
    const client = connect(options, () => {
      resolve(client.getPeerCertificate().fingerprint256);
      client.destroy();
    }).on("error", reject);
  });
}

describe("several certificates", () => {
  it("P6: each is shown for its base domain, and taken anew by itself", async () => {
    await using site = await twoSites();
    await using server = await start(site);
    await register(server, {}, generateKeyPair().publicKey);
    const first = await fingerprint(site, "wildcard");
    await expect.poll(() => shown(server, BASE), PATIENCE).toBe(first);
    expect(await shown(server, NET)).toBe(await fingerprint(site, "net"));

    await writeFile(join(site.dir, "wildcard.pem"), "no certificate");
    await writePair(site.dir, "net", `*.${NET}`);
    expect(await server.reload()).toContain(join(site.dir, "wildcard.pem"));
    const renewed = await fingerprint(site, "net");
    await expect.poll(() => shown(server, NET), PATIENCE).toBe(renewed);
    expect(await shown(server, BASE)).toBe(first);

    const admin = adminClient(server);
    const { certificates, keys, notAfter } = await admin.getCertificate({});
    expect(certificates).toMatchObject([
      { file: join(site.dir, "wildcard.pem"), names: [`*.${BASE}`] },
      { file: join(site.dir, "net.pem"), names: [`*.${NET}`], refusal: "" },
    ]);
    expect(certificates[0]?.refusal).not.toBe("");
    expect(keys.map(({ inUse }) => inUse)).toEqual([true, false, true]);
    expect(certificates.map(({ keyDigest }) => keyDigest)).toEqual([keys[2]?.digest, keys[0]?.digest]);
    expect(certificates.map((each) => each.notAfter)).toContain(notAfter);

    const page = await getText(server.url, "/");
    for (const base of [BASE, NET]) expect(page.text).toContain(`*.${base}: until `);
    const { text } = await getText(server.url, "/metrics");
    for (const base of [BASE, NET]) {
      expect(text).toContain(`tproxy_certificate_not_after_seconds{names="*.${base}"} `);
    }
  });

  it("P6: none may leave a base domain without any, at the start or later", async () => {
    await using site = await twoSites();
    {
      await using server = await start(site);
      await register(server, {}, generateKeyPair().publicKey);
      const before = await fingerprint(site, "net");
      await writePair(site.dir, "net", `*.${BASE}`);
      expect(await server.reload()).toMatch(/none names \*\.app\.example\.net/);
      await expect.poll(() => shown(server, NET), PATIENCE).toBe(before);
      // Once another one has the name it may go.
      await writePair(site.dir, "wildcard", `*.${BASE}`, `*.${NET}`);
      await server.reload();
      expect(await server.reload()).toBeUndefined();
      const both = await fingerprint(site, "wildcard");
      await expect.poll(() => shown(server, NET), PATIENCE).toBe(both);
    }
    await writePair(site.dir, "wildcard", `*.${BASE}`);
    await expect(start(site)).rejects.toThrow(/none names \*\.app\.example\.net/);
  });

  it("tells monitors of all keys, and of the accounts of each certbot", async () => {
    await using site = await twoSites();
    await using server = await start(site);
    const account = (name: string) => ({
      account_uri: `https://ca.test/${name}`,
      accounts: [{ ca: "ca.test", uri: `https://ca.test/${name}` }],
      caa: [`${name}. CAA 0 issue "ca.test"`, "both"],
    });
    await writeFile(join(site.dir, "state", "acme-account.json"), JSON.stringify(account("org")));
    await writeFile(join(site.dir, "net-account.json"), JSON.stringify(account("net")));
    const { text } = await getText(server.url, "/.dstack/acme-info");
    const info = JSON.parse(text) as { hist_keys: string[] };
    expect(info).toMatchObject({
      account_uri: "https://ca.test/org",
      accounts: [{ uri: "https://ca.test/org" }, { uri: "https://ca.test/net" }],
      caa: [...account("org").caa, account("net").caa[0]],
    });
    const served = await Promise.all(
      ["wildcard", "net"].map(async (name) => {
        const { publicKey } = new X509Certificate(await readFile(join(site.dir, `${name}.pem`), "utf8"));
        return hex(sha256(publicKey.export({ format: "der", type: "spki" })));
      }),
    );
    expect(info.hist_keys.map((key) => hex(sha256(Buffer.from(key, "hex"))))).toEqual(served);
  });
});
