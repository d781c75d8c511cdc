import { randomBytes } from "node:crypto";
import { connect } from "node:tls";
import type { ConnectionOptions, TLSSocket } from "node:tls";
import { PolicyConfig, allowedImage, runtimeEvent } from "@dstack/attestation";
import type { EventLogEntry } from "@dstack/attestation";
import { fromHex, sha256 } from "@dstack/core";
import { silentLogger } from "@dstack/daemon";
import { implement } from "@dstack/prpc";
import type { ServiceImpl } from "@dstack/prpc";
import { kms } from "@dstack/proto";
import { CertificateAuthority, PeerVerifier, createRaTlsCertificate, generateP256 } from "@dstack/ra-tls";
import type { VerifiedPeer } from "@dstack/ra-tls";
import { SimulatedPlatform, bareLaunch, createSimulatedProvider } from "@dstack/tdx-attest";
import { listenRaRpc, requireAttested } from "../src/index.js";
import type { RaRpcListener, RaRpcOptions, ServerIdentity } from "../src/index.js";

const platform = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(3));
const launch = bareLaunch("ra-rpc tests");
const inADay = (): Date => new Date(Date.now() + 86_400_000);

/** The real verifier, trusting one simulated platform and one launch. */
export const verifier = await PeerVerifier.create({
  anchors: [{ kind: "simulated", sha256: platform.rootSha256 }],
  policy: PolicyConfig.parse({
    insecure_simulated_roots: ["root.pem"],
    images: { allowed: [allowedImage("tests", launch)] },
  }),
  collateral: { get: async (_keys, now) => platform.collateral(now) },
});

export const ca = await CertificateAuthority.create({ commonName: "test root" });

/** A server certificate that chains to {@link ca}. */
export async function serverIdentity(...altNames: string[]): Promise<ServerIdentity> {
  const key = generateP256();
  const { publicKey } = key;
  const names = altNames.length === 0 ? ["127.0.0.1", "localhost"] : altNames;
  const request = {
    publicKey,
    commonName: "server",
    altNames: names,
    usages: ["serverAuth"],
    notAfter: inADay(),
  } as const;
  return { key: key.privateKeyPem, certChain: await ca.issue(request) };
}

export function appIdOf(app: string): string {
  return Buffer.from(sha256(app).subarray(0, 20)).toString("hex");
}

function bootEvents(app: string): EventLogEntry[] {
  const appId = sha256(app).subarray(0, 20);
  const none = new Uint8Array();
  return [
    runtimeEvent("system-preparing", none),
    runtimeEvent("rootfs-hash", sha256("rootfs")),
    runtimeEvent("app-id", appId),
    runtimeEvent("compose-hash", sha256(app)),
    runtimeEvent("upgraded-app-id", appId),
    runtimeEvent("ca-cert-hash", sha256("kms ca")),
    runtimeEvent("instance-id", sha256("instance").subarray(0, 20)),
    runtimeEvent("boot-mr-done", none),
  ];
}

interface GuestOptions {
  /** Changes the log after the registers were extended. */
  edit?: (events: EventLogEntry[]) => EventLogEntry[];
  /** The key in the certificate, where it is not the one the quote is over. */
  otherKey?: boolean;
  /** Makes the log about this much longer, with events of an application. */
  extraLog?: number;
}

/** Key and RA-TLS certificate of a guest that runs an app, issued by {@link ca}. */
export async function guest(app = "app", options: GuestOptions = {}): Promise<ServerIdentity> {
  const provider = createSimulatedProvider({ platform, launch });
  let events = bootEvents(app);
  const extraLog = options.extraLog ?? 0;
  if (extraLog > 0) events.push(runtimeEvent("system-ready", new Uint8Array()));
  for (let left = extraLog; left > 0; left -= 2048) {
    events.push(runtimeEvent("app-event", randomBytes(1024)));
  }
  for (const event of events) await provider.extendRtmr(3, fromHex(event.digest));
  events = options.edit?.(events) ?? events;
  const key = generateP256();
  const { certPem } = await createRaTlsCertificate({
    key: key.privateKey,
    provider: {
      getQuote: (reportData) =>
        provider.getQuote(options.otherKey === true ? sha512of("another key") : reportData),
    },
    eventLog: JSON.stringify([...(await provider.bootEvents()), ...events]),
    commonName: "guest",
    altNames: ["127.0.0.1"],
    issuer: ca,
    notAfterMs: inADay().getTime(),
  });
  return { key: key.privateKeyPem, certChain: certPem };
}

/** Evidence of the guest that {@link guest} makes, over report data of one's own. */
export async function guestEvidence(
  reportData: Uint8Array,
  app = "app",
): Promise<{ quote: Uint8Array; eventLog: string }> {
  const provider = createSimulatedProvider({ platform, launch });
  const events = bootEvents(app);
  for (const event of events) await provider.extendRtmr(3, fromHex(event.digest));
  return {
    quote: await provider.getQuote(reportData),
    eventLog: JSON.stringify([...(await provider.bootEvents()), ...events]),
  };
}

function sha512of(text: string): Uint8Array {
  return new Uint8Array([...sha256(text), ...sha256(text)]);
}

/** A client certificate without evidence. */
export async function plainClient(): Promise<ServerIdentity> {
  const key = generateP256();
  const request = {
    publicKey: key.publicKey,
    commonName: "nobody",
    usages: ["clientAuth"],
    notAfter: inADay(),
  } as const;
  return { key: key.privateKeyPem, certChain: await ca.issue(request) };
}

/** A KMS whose GetAppKey answers the verified app id; GetMeta is for everybody. */
export const testKms: ServiceImpl<VerifiedPeer> = implement(
  kms.KMS,
  {
    getAppKey: async (_request, call) => ({ appKey: requireAttested(call).appId }),
    getChallenge: async () => ({}),
    getAppEnvEncryptPubKey: async () => ({ publicKey: Uint8Array.of(1) }),
    getMeta: async (_request, call) => ({ caCert: call.peer?.appId ?? "nobody" }),
  },
  {
    guard: (method, call) => {
      if (method === "GetAppKey") requireAttested(call);
    },
  },
);

export async function listen(changes: Partial<RaRpcOptions> = {}): Promise<RaRpcListener> {
  return listenRaRpc({
    host: "127.0.0.1",
    port: 0,
    ...(await serverIdentity()),
    verifier,
    services: [testKms],
    log: silentLogger(),
    ...changes,
  });
}

/** A TLS connection as any program can make it. Rejects when the handshake fails on our side. */
export async function dial(port: number, options: ConnectionOptions = {}): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: "127.0.0.1", port, ca: ca.certPem, ...options }, () => {
      socket.off("error", reject);
      resolve(socket);
    });
    socket.once("error", reject);
  });
}

/** Writes text and reads what comes until the server closes the connection. */
export async function exchange(socket: TLSSocket, text: string): Promise<string> {
  return new Promise((resolve) => {
    let answer = "";
    socket.on("data", (chunk: Buffer) => (answer += chunk.toString()));
    socket.on("error", () => {});
    socket.on("close", () => resolve(answer));
    socket.write(text);
  });
}
