import { createFileExclusive, errorCode, hex } from "@dstack/core";
import { CertificateAuthority, generateP256 } from "@dstack/ra-tls";
import { SimulatedPlatform } from "@dstack/tdx-attest";
import { execa } from "execa";
import { randomBytes } from "node:crypto";
import { access, chmod, mkdir, readFile } from "node:fs/promises";
import { BASE_DOMAIN } from "./home.js";
import type { Home } from "./home.js";
import { program } from "./programs.js";

const DAY_MS = 86_400_000;

/** Addresses under which guests (user-mode networking: 10.0.2.2) and this machine reach the daemons. */
const SERVER_NAMES = "localhost,127.0.0.1,10.0.2.2";

async function exists(path: string): Promise<boolean> {
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

/** Makes what an installation needs once: seed of the simulated platform, KMS root, server certificates, token. */
export async function prepareMaterial(home: Home): Promise<void> {
  for (const dir of ["kms", "tproxy", "teepod", "registry", "logs", "proxy"]) {
    await mkdir(home.path(dir), { recursive: true, mode: 0o700 });
  }
  await keepOrCreate(home.path("simulator.seed"), () => `${hex(randomBytes(32))}\n`);
  await keepOrCreate(
    home.path("simulated-root.pem"),
    async () => (await loadPlatform(home)).rootCertificatePem,
    0o644,
  );
  await keepOrCreate(home.path("teepod.token"), () => `${hex(randomBytes(32))}\n`);
  if (!(await exists(home.path("kms", "certs", "root-ca.pem")))) {
    const [node, ...args] = await program(
      "kms",
      "init",
      "--dir",
      home.path("kms", "certs"),
      "--alt-name",
      SERVER_NAMES,
    );
    await execa(node ?? "node", args);
  }
  await prepareTproxyCertificate(home);
  await prepareProxyCertificate(home);
}

/** tproxy's certificate for guests, issued by the KMS root they already trust. */
async function prepareTproxyCertificate(home: Home): Promise<void> {
  if (await exists(home.path("tproxy", "rpc.pem"))) return;
  const [node, ...args] = await program(
    "kms",
    "issue-server-cert",
    "--dir",
    home.path("kms", "certs"),
    "--out-cert",
    home.path("tproxy", "rpc.pem"),
    "--out-key",
    home.path("tproxy", "rpc.key"),
    "--alt-name",
    SERVER_NAMES,
  );
  await execa(node ?? "node", args);
}

/** The public side's certificate for `*.app.localhost`, from a CA of this installation alone. */
async function prepareProxyCertificate(home: Home): Promise<void> {
  const cert = home.path("proxy", "cert.pem");
  if (await exists(cert)) return;
  const authority = await CertificateAuthority.create({ commonName: "dstack local proxy CA" });
  const key = generateP256();
  const certPem = await authority.issue({
    publicKey: key.publicKey,
    commonName: BASE_DOMAIN,
    altNames: [BASE_DOMAIN, `*.${BASE_DOMAIN}`],
    usages: ["serverAuth"],
    notAfter: new Date(Date.now() + 365 * DAY_MS),
  });
  await keepOrCreate(home.path("proxy", "ca.pem"), () => authority.certPem, 0o644);
  await keepOrCreate(home.path("proxy", "key.pem"), () =>
    key.privateKey.export({ type: "pkcs8", format: "pem" }).toString(),
  );
  // Last, because its presence says that the other two are there.
  await keepOrCreate(cert, () => certPem, 0o644);
  await chmod(cert, 0o644);
}

/** The simulated platform of this installation, from its seed. */
export async function loadPlatform(home: Home): Promise<SimulatedPlatform> {
  const text = (await readFile(home.path("simulator.seed"), "utf8")).trim();
  return SimulatedPlatform.fromSeed(new Uint8Array(Buffer.from(text, "hex")));
}
