import { mkdtemp, readFile, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { execa } from "execa";
import { freePort } from "../../../core/test/support/ports.js";
import { type RunningProgram, startProgram } from "./processes.js";

export interface Pebble extends RunningProgram {
  directory: string;
  port: number;
  /** The root its TLS certificate chains to. */
  rootPem: string;
  tls: { cert: string; key: string };
}

const accepts = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.once("connect", () => (socket.destroy(), resolve(true)));
    socket.once("error", () => resolve(false));
  });

/**
 * Debian's Pebble: an ACME server that validates against the given DNS server. Its own certificate is also for 10.0.2.2,
 * which is this machine to a guest of QEMU.
 * @param dnsServer `ip:port`
 */
export async function startPebble(dnsServer: string): Promise<Pebble> {
  const dir = await mkdtemp(join(tmpdir(), "pebble-"));
  const [cert, key] = [join(dir, "cert.pem"), join(dir, "key.pem")];
  const subject = ["-subj", "/CN=pebble", "-addext", "subjectAltName=IP:127.0.0.1,IP:10.0.2.2"];
  const curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"];
  await execa("openssl", [
    "req",
    "-x509",
    ...curve,
    "-nodes",
    "-days",
    "2",
    "-keyout",
    key,
    "-out",
    cert,
    ...subject,
  ]);
  const [port, management] = [await freePort(), await freePort()];
  const pebble = {
    listenAddress: `127.0.0.1:${port}`,
    managementListenAddress: `127.0.0.1:${management}`,
    certificate: cert,
    privateKey: key,
    httpPort: 5002,
    tlsPort: 5001,
  };
  await writeFile(join(dir, "config.json"), JSON.stringify({ pebble }));
  const program = await startProgram(
    "pebble",
    ["-config", join(dir, "config.json"), "-dnsserver", dnsServer],
    {
      dir,
      env: { PEBBLE_VA_NOSLEEP: "1", PEBBLE_AUTHZREUSE: "0" },
      ready: () => accepts(port),
    },
  );
  const rootPem = await readFile(cert, "utf8");
  const tls = { cert: rootPem, key: await readFile(key, "utf8") };
  return { ...program, directory: `https://127.0.0.1:${port}/dir`, port, rootPem, tls };
}
