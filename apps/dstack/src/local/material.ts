import { createFileExclusive, errorCode, hex } from "@dstack/core";
import { CertificateAuthority, generateP256 } from "@dstack/ra-tls";
import { SimulatedPlatform } from "@dstack/tdx-attest";
import { execa } from "execa";
import { randomBytes } from "node:crypto";
import { access, chmod, mkdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { BASE_DOMAIN } from "./home.js";
import type { Home } from "./home.js";
import { program } from "./programs.js";

const DAY_MS = 86_400_000;

/** Addresses under which guests (user-mode networking: 10.0.2.2) and this machine reach the daemons. */
const SERVER_NAMES = "localhost,127.0.0.1,10.0.2.2";

/** Whether there is anything under this name. */
export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** Creates a file unless it exists; a second run, or one after a crash, keeps what is there. */
async function keepOrCreate(path: string, make: () => string | Promise<string>, mode = 0o600): Promise<void> {
  if (await exists(path)) return;
  try {
    await createFileExclusive(path, await make(), { mode });
  } catch (err) {
    if (errorCode(err) !== "EEXIST") throw err;
  }
}

/** Makes what a local installation needs once: simulated platform, KMS root, server certificates, token. */
export async function prepareMaterial(home: Home): Promise<void> {
  for (const dir of ["kms", "tproxy", "teepod", "registry", "logs", "proxy"]) {
    await mkdir(home.path(dir), { recursive: true, mode: 0o700 });
  }
  await keepSimulatedPlatform(home.path("simulator.seed"), home.path("simulated-root.pem"));
  await keepToken(home.path("teepod.token"));
  await keepToken(home.path("tproxy.token"));
  const kmsCerts = home.path("kms", "certs");
  await keepKmsRoot(kmsCerts);
  await keepServerCertificate(kmsCerts, home.path("tproxy", "rpc.pem"), home.path("tproxy", "rpc.key"));
  await keepOwnCertificate(home.path("proxy"), BASE_DOMAIN);
}

/** A seed of 32 bytes in hex, and the root certificate of the platform that follows from it. */
export async function keepSimulatedPlatform(seedFile: string, rootFile: string): Promise<void> {
  await keepOrCreate(seedFile, () => `${hex(randomBytes(32))}\n`);
  await keepOrCreate(rootFile, async () => (await loadPlatform(seedFile)).rootCertificatePem, 0o644);
}

/** A bearer token of 32 random bytes in hex. */
export async function keepToken(path: string): Promise<void> {
  await keepOrCreate(path, () => `${hex(randomBytes(32))}\n`);
}

/** The KMS's root CA and server certificate: `root-ca.pem`, `root-ca.key`, `server.pem`, `server.key`. */
export async function keepKmsRoot(dir: string): Promise<void> {
  if (await exists(join(dir, "root-ca.pem"))) return;
  await runKms("init", "--dir", dir, "--alt-name", SERVER_NAMES);
}

/** A server certificate of the KMS root, which guests trust, for another daemon: tproxy. */
export async function keepServerCertificate(kmsCerts: string, cert: string, key: string): Promise<void> {
  if (await exists(cert)) return;
  await runKms(
    "issue-server-cert",
    ...["--dir", kmsCerts, "--out-cert", cert, "--out-key", key, "--alt-name", SERVER_NAMES],
  );
}

async function runKms(...args: string[]): Promise<void> {
  const [node, ...rest] = await program("kms", ...args);
  await execa(node ?? "node", rest);
}

/** The public side's certificate for `*.<domain>`, from a CA of this machine alone: `ca.pem`, `key.pem`, `cert.pem`. */
export async function keepOwnCertificate(dir: string, domain: string): Promise<void> {
  const cert = join(dir, "cert.pem");
  if (await exists(cert)) return;
  const authority = await CertificateAuthority.create({ commonName: "dstack local proxy CA" });
  const key = generateP256();
  const certPem = await authority.issue({
    publicKey: key.publicKey,
    commonName: domain,
    altNames: [domain, `*.${domain}`],
    usages: ["serverAuth"],
    notAfter: new Date(Date.now() + 365 * DAY_MS),
  });
  await keepOrCreate(join(dir, "ca.pem"), () => authority.certPem, 0o644);
  await keepOrCreate(join(dir, "key.pem"), () =>
    key.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  );
  // Last, because its presence says that the other two are there.
  await keepOrCreate(cert, () => certPem, 0o644);
  await chmod(cert, 0o644);
}

/** The simulated platform of a seed file. */
export async function loadPlatform(seedFile: string): Promise<SimulatedPlatform> {
  const text = (await readFile(seedFile, "utf8")).trim();
  return SimulatedPlatform.fromSeed(new Uint8Array(Buffer.from(text, "hex")));
}
