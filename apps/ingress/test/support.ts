import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { type RequestListener, type Server, createServer } from "node:http";
import { once } from "node:events";
import { type AddressInfo, type Server as NetServer, type Socket, connect as tcpConnect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TLSSocket, connect } from "node:tls";
import { hex, sha256 } from "@dstack/core";
import { silentLogger } from "@dstack/daemon";
import type { ServedCertificate } from "../src/certificate/live-certificate.js";
import type { Evidence } from "../src/evidence/evidence.js";
import { EvidencePages } from "../src/evidence/serve-evidence.js";
import type { GuestAgent } from "../src/guest-agent.js";
import { handlers } from "../src/proxy/handle.js";
import { PublicServer } from "../src/proxy/server.js";
import { parseTarget } from "../src/settings/target.js";

export const DOMAIN = "app.example.test";

/** A self-signed certificate. */
export async function selfSigned(name = DOMAIN): Promise<ServedCertificate> {
  const dir = await mkdtemp(join(tmpdir(), "ingress-cert-"));
  const [cert, key] = [join(dir, "cert.pem"), join(dir, "key.pem")];
  const what = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30"];
  const subject = ["-subj", `/CN=${name}`, "-addext", `subjectAltName=DNS:${name}`];
  execFileSync("openssl", ["req", "-x509", ...what, "-keyout", key, "-out", cert, ...subject], {
    stdio: "ignore",
  });
  const served = { chainPem: readFileSync(cert, "utf8"), keyPem: readFileSync(key, "utf8") };
  await rm(dir, { recursive: true });
  return { ...served, notAfter: new Date(Date.now() + 30 * 86_400_000) };
}

/** Answers with its report data in place of a quote. */
export const echoAgent: GuestAgent = {
  appId: async () => hex(sha256("app")).slice(0, 40),
  quote: async (reportData) => ({ quote: hex(reportData), event_log: "[]" }),
};

export const EVIDENCE: Evidence = {
  account: "{}\n",
  certificate: "certificate",
  sums: "sums\n",
  quote: { quote: "00", event_log: "[]" },
  issuedAt: new Date("2026-01-01T00:00:00Z"),
};

export interface Listening extends AsyncDisposable {
  readonly port: number;
}

export async function listening(server: NetServer, cut: () => void = () => {}): Promise<Listening> {
  const sockets = new Set<Socket>();
  server.on("connection", (socket: Socket) => {
    sockets.add(socket);
    socket.once("close", () => sockets.delete(socket));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    async [Symbol.asyncDispose]() {
      cut();
      server.close();
      for (const socket of sockets) socket.destroy();
    },
  };
}

/** An app as it runs in a container. */
export function startApp(answer: RequestListener, prepare: (server: Server) => void = () => {}) {
  const server = createServer(answer);
  prepare(server);
  return listening(server);
}

/** The public side of an ingress in front of a target, without certificate keeping. */
export async function startProxy(
  target: string,
  options: { agent?: GuestAgent } = {},
): Promise<PublicServer> {
  const log = silentLogger();
  const pages = new EvidencePages({
    agent: options.agent ?? echoAgent,
    domains: [DOMAIN],
    onQuote: () => {},
    log,
  });
  const routes = new Map([[DOMAIN, parseTarget(target)]]);
  return PublicServer.listen(
    { host: "127.0.0.1", port: 0 },
    await selfSigned(),
    handlers({ routes, pages, evidence: () => EVIDENCE, replied: () => {}, log }),
  );
}

export async function tlsConnect(port: number, alpn = "http/1.1"): Promise<TLSSocket> {
  const socket = connect({
    host: "127.0.0.1",
    port,
    servername: DOMAIN,
    ALPNProtocols: [alpn],
    rejectUnauthorized: false,
  });
  await once(socket, "secureConnect");
  return socket;
}

/** Everything that comes until the other side hangs up, for bytes sent as they are. */
export async function rawExchange(port: number, bytes: string): Promise<string> {
  const socket = await tlsConnect(port);
  socket.on("error", () => {});
  socket.write(bytes);
  let got = "";
  socket.setEncoding("latin1");
  socket.on("data", (part: string) => (got += part));
  await once(socket, "close");
  return got;
}

/** As {@link rawExchange}, over TCP: to see what an app is sent. */
export function tcp(port: number): Socket {
  return tcpConnect(port, "127.0.0.1");
}
