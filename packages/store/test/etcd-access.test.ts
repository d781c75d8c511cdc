import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { silentLogger } from "@dstack/daemon";
import { CertificateAuthority } from "@dstack/ra-tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { etcdConfig } from "../src/etcd-config.js";
import { openEtcd } from "../src/open-etcd.js";
import type { Store } from "../src/store.js";
import { EtcdServer, etcdUnavailable, issuePair } from "./support/etcd-server.js";

const reason = etcdUnavailable();
if (reason !== undefined) console.warn(`skipping etcd with TLS and users: ${reason}`);

const PREFIX = "/dstack/test/";
const USER = { username: "tproxy", password_file: "etcd.password" };
const PAIR = { cert: "client.pem", key: "client.key" };

describe.skipIf(reason !== undefined)("etcd with TLS, client certificates and users", () => {
  let server: EtcdServer;
  let dir: string;
  beforeAll(async () => {
    const ca = await CertificateAuthority.create({ commonName: "etcd CA" });
    const other = await CertificateAuthority.create({ commonName: "another CA" });
    dir = await mkdtemp(join(tmpdir(), "etcd-access-"));
    const [mine, foreign] = [await issuePair(ca, "node-1"), await issuePair(other, "node-1")];
    for (const [name, text] of Object.entries({
      "ca.pem": ca.certPem,
      "other-ca.pem": other.certPem,
      "client.pem": mine.cert,
      "client.key": mine.key,
      "foreign.pem": foreign.cert,
      "foreign.key": foreign.key,
      "etcd.password": "the password of tproxy\n",
      "wrong.password": "another\n",
    }))
      await writeFile(join(dir, name), text, { mode: 0o600 });
    server = await EtcdServer.startWithTls(ca);
    await server.requireUser("tproxy", "the password of tproxy", PREFIX);
  });
  afterAll(async () => {
    await server[Symbol.asyncDispose]();
    await rm(dir, { recursive: true, force: true });
  });

  /** As a program opens it with this section; the values of files are names in `dir`. */
  async function open(section: Record<string, string>, endpoint = server.endpoint): Promise<Store> {
    const isFile = (key: string): boolean => ["ca", "cert", "key", "password_file"].includes(key);
    const files = Object.entries(section).map(([key, value]) => [
      key,
      isFile(key) ? join(dir, value) : value,
    ]);
    const config = etcdConfig(PREFIX).parse({ endpoints: [endpoint], ...Object.fromEntries(files) });
    return openEtcd(config, {
      node: "node-1",
      snapshotPath: join(await mkdtemp(join(dir, "state-")), "snapshot.json"), // one that was never in the cluster
      maxBytes: 2 ** 20,
      log: silentLogger(),
    });
  }

  it("is used with all of them, also after it forgot who was let in", async () => {
    await using store = await open({ ca: "ca.pem", ...PAIR, ...USER });
    expect(await store.commit({ set: { a: "1" } })).toBe(true);
    await server.kill();
    await server.start(); // its tokens were in its memory
    await expect.poll(() => store.commit({ set: { a: "2" } }).catch(() => false)).toBe(true);
    expect(store.get("a")?.value).toBe("2");
  });

  it("that does not let us in, or that we do not know, stops the start at once, with what to look at", async () => {
    const whole = { ca: "ca.pem", ...PAIR, ...USER };
    const began = performance.now();
    for (const [section, sentence] of [
      [
        { ...whole, password_file: "wrong.password" },
        "it does not know username tproxy with the password in password_file",
      ],
      [{ ca: "ca.pem", ...PAIR }, `with no username, it does not let us read and write ${PREFIX}`],
      [{ ...whole, prefix: "/else/" }, "with username tproxy, it does not let us read and write /else/"],
      [{ ca: "ca.pem", ...USER }, "it wants a certificate of ours: cert and key"],
      [{ ...whole, cert: "foreign.pem", key: "foreign.key" }, "it does not take our certificate, cert"],
      [{ ...whole, ca: "other-ca.pem" }, "its certificate is of another CA than ca"],
      [{ ...whole, key: "foreign.key" }, "key is not the key of cert"],
      [{ ...whole, cert: "etcd.password" }, "cert or key is not PEM"],
    ] as const) {
      await expect(open(section), sentence).rejects.toThrow(
        `etcd cannot be used: ${server.endpoint}: ${sentence}`,
      );
    }
    const byName = server.endpoint.replace("127.0.0.1", "localhost");
    await expect(open(whole, byName)).rejects.toThrow(
      "its certificate is for another name or address than that of",
    );
    expect(performance.now() - began).toBeLessThan(9 * 8_000); // as long as it waits for one that does not answer
  });
});
