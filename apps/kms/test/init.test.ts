import { X509Certificate, createPrivateKey } from "node:crypto";
import { chmod, readFile, readdir, rename, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { generateP256 } from "@dstack/ra-tls";
import { describe, expect, it } from "vitest";
import { CertLog } from "../src/cert-log/cert-log.js";
import { initKms, issueServerCert, startKms } from "../src/index.js";
import { anonymousClient, install, start } from "./guest.js";
import { tempDir } from "./temp.js";

const names = ["kms.example", "10.0.2.2", "127.0.0.1"];

async function freshDir(): Promise<string> {
  return tempDir();
}

async function contents(dir: string): Promise<Record<string, string>> {
  const files = await readdir(dir);
  return Object.fromEntries(
    await Promise.all(files.map(async (f) => [f, await readFile(join(dir, f), "utf8")] as const)),
  );
}

describe("kms init", () => {
  it("makes a root CA and a server certificate of it that is good for the names asked for", async () => {
    const dir = await freshDir();
    await initKms(dir, { commonName: "my root", altNames: names });
    const root = new X509Certificate(await readFile(join(dir, "root-ca.pem")));
    const chain =
      (await readFile(join(dir, "server.pem"), "utf8")).match(/-----BEGIN[^]*?END CERTIFICATE-----/g) ?? [];
    const server = new X509Certificate(chain[0] ?? "");
    expect(root.subject).toBe("CN=my root");
    expect(root.ca).toBe(true);
    expect(root.checkPrivateKey(createPrivateKey(await readFile(join(dir, "root-ca.key"))))).toBe(true);
    expect(server.checkIssued(root) && server.verify(root.publicKey)).toBe(true);
    expect(server.ca).toBe(false);
    expect(server.checkPrivateKey(createPrivateKey(await readFile(join(dir, "server.key"))))).toBe(true);
    expect(server.checkHost("kms.example")).toBe("kms.example");
    expect(server.checkIP("10.0.2.2")).toBe("10.0.2.2");
    expect(server.checkIP("127.0.0.1")).toBe("127.0.0.1");
    expect(server.checkIP("10.0.2.3")).toBeUndefined();
    expect(new X509Certificate(chain[1] ?? "").fingerprint256).toBe(root.fingerprint256);
  });

  it("K4: makes keys that only their owner can read", async () => {
    const dir = await freshDir();
    await initKms(dir, { commonName: "root", altNames: names });
    for (const key of ["root-ca.key", "server.key"])
      expect((await stat(join(dir, key))).mode & 0o777).toBe(0o600);
  });

  it("K4: never overwrites: a second run changes nothing, nor does one beside a single file", async () => {
    const dir = await freshDir();
    await initKms(dir, { commonName: "root", altNames: names });
    const before = await contents(dir);
    await expect(initKms(dir, { commonName: "root", altNames: names })).rejects.toThrow(/never overwrites/);
    expect(await contents(dir)).toEqual(before);
    const other = await freshDir();
    await writeFile(join(other, "root-ca.key"), "precious");
    await expect(initKms(other, { commonName: "root", altNames: names })).rejects.toThrow(/root-ca.key/);
    expect(await contents(other)).toEqual({ "root-ca.key": "precious" });
  });

  it("K4: does not follow a link that lies where a key is to be written", async () => {
    const dir = await freshDir();
    const target = join(await freshDir(), "elsewhere");
    await symlink(target, join(dir, "root-ca.key"));
    await expect(initKms(dir, { commonName: "root", altNames: names })).rejects.toThrow(/root-ca.key/);
    await expect(stat(target)).rejects.toThrow(/ENOENT/);
  });
});

describe("kms issue-server-cert", () => {
  it("issues a certificate of the same root for another daemon; K5: it is in the log", async () => {
    const dir = await freshDir();
    await initKms(dir, { commonName: "root", altNames: names });
    const out = { outCert: join(dir, "tproxy.pem"), outKey: join(dir, "tproxy.key") };
    await issueServerCert(dir, { ...out, commonName: "tproxy", altNames: ["10.0.2.2"] });
    const root = new X509Certificate(await readFile(join(dir, "root-ca.pem")));
    const certificate = new X509Certificate(await readFile(out.outCert));
    expect(certificate.verify(root.publicKey)).toBe(true);
    expect(certificate.checkIP("10.0.2.2")).toBe("10.0.2.2");
    expect((await stat(out.outKey)).mode & 0o777).toBe(0o600);
    const log = await readFile(join(dir, "server-certs.log"), "utf8");
    expect(log).toContain(certificate.raw.toString("base64"));
    expect(log).toContain(root.raw.toString("base64"));
    await using reopened = await CertLog.open(join(dir, "server-certs.log"));
    expect(reopened.head.seq).toBe(2);
  });

  it("K4: never overwrites", async () => {
    const dir = await freshDir();
    await initKms(dir, { commonName: "root", altNames: names });
    const before = await contents(dir);
    const out = { outCert: join(dir, "new.pem"), outKey: join(dir, "server.key") };
    await expect(issueServerCert(dir, { ...out, commonName: "x", altNames: names })).rejects.toMatchObject({
      code: "EEXIST",
    });
    expect((await contents(dir))["server.key"]).toBe(before["server.key"]);
    await expect(stat(out.outCert)).rejects.toThrow(/ENOENT/);
  });

  it.each(["a b", "x;y", "*", "a\nb", ""])("refuses the name %j and leaves nothing behind", async (name) => {
    const dir = await freshDir();
    await expect(initKms(dir, { commonName: "root", altNames: [name] })).rejects.toThrow(/alternative name/);
    expect(await readdir(dir)).toEqual([]);
  });
});

describe("K4: key files at start", () => {
  it.each([0o640, 0o604, 0o660, 0o644])(
    "K4: refuses a root key with mode %o and says how to mend it",
    async (mode) => {
      const installation = await install();
      const path = installation.config.core.root_ca_key;
      await chmod(path, mode);
      await expect(start(installation)).rejects.toThrow(`chmod 600 ${path}`);
    },
  );

  it("K4: refuses a server key that others can read, and a root key that is a link", async () => {
    const installation = await install();
    await chmod(installation.config.tls.key, 0o644);
    await expect(start(installation)).rejects.toThrow(/chmod 600/);
    await chmod(installation.config.tls.key, 0o600);
    const path = installation.config.core.root_ca_key;
    await rename(path, `${path}.real`);
    await expect(start(installation)).rejects.toThrow(/does not exist/);
    await symlink(`${path}.real`, path);
    await expect(start(installation)).rejects.toThrow(/symbolic link/);
  });

  it("refuses a root key that belongs to another certificate, without quoting it", async () => {
    const installation = await install();
    const other = generateP256().privateKeyPem;
    await writeFile(installation.config.core.root_ca_key, other);
    const failure = await start(installation).then(
      () => "started",
      (err: unknown) => String(err),
    );
    expect(failure).toContain("key does not belong");
    expect(failure).not.toContain(other.split("\n")[1]);
  });
});

describe("K5: issue log at start", () => {
  it("K5: a broken chain keeps the KMS from starting", async () => {
    const installation = await install();
    await (await start(installation))[Symbol.asyncDispose]();
    await writeFile(join(installation.config.core.cert_log_dir, "issued.log"), `${"0".repeat(64)} {}\n`);
    await expect(start(installation)).rejects.toMatchObject({ code: "broken_chain" });
  });
});

describe("startKms", () => {
  it("fails with one sentence when the port is taken, and leaves nothing open", async () => {
    const installation = await install();
    await using running = await start(installation);
    const second = { ...installation.config, port: running.port };
    await expect(startKms(second)).rejects.toThrow(/already in use/);
    await using client = anonymousClient(installation, running);
    expect((await client.getMeta()).rootPubkey.length).toBe(91);
  });
});
