import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PolicyConfig, allowedImage, runtimeEvent } from "@dstack/attestation";
import type { EventLogEntry } from "@dstack/attestation";
import { fromHex, hex, sha256 } from "@dstack/core";
import { silentLogger } from "@dstack/daemon";
import { createClient } from "@dstack/prpc";
import { tproxy } from "@dstack/proto";
import { raTlsTransport } from "@dstack/ra-rpc";
import {
  CertificateAuthority,
  PeerVerifier,
  createRaTlsCertificate,
  generateP256,
  pemToDer,
} from "@dstack/ra-tls";
import { SimulatedPlatform, bareLaunch, createSimulatedProvider } from "@dstack/tdx-attest";
import type { SimulatedProvider } from "@dstack/tdx-attest";
import { TproxyConfig, startTproxy } from "../src/index.js";
import type { Tproxy, TproxyConfigInput, TproxyParts } from "../src/index.js";
import { MemoryWireGuard } from "./memory-wireguard.js";

export const BASE = "app.example.org";
export const platform = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(7));
export const launch = bareLaunch("tproxy tests");
const policy = {
  insecure_simulated_roots: ["root.pem"],
  images: { allowed: [allowedImage("tests", launch)] },
};
/** The CA both of the RPC listener and of the proxy's wildcard certificate. */
export const ca = await CertificateAuthority.create({ commonName: "test root" });

const inADay = (): Date => new Date(Date.now() + 86_400_000);

export async function serverPair(...altNames: string[]): Promise<{ cert: string; key: string }> {
  const key = generateP256();
  const cert = await ca.issue({
    publicKey: key.publicKey,
    commonName: "server",
    altNames,
    usages: ["serverAuth"],
    notAfter: inADay(),
  });
  return { cert, key: key.privateKeyPem };
}

/** Key and certificate, and after it the CA's, as `kms issue-server-cert` writes them. */
export async function writePair(dir: string, name: string, ...altNames: string[]): Promise<void> {
  const pair = await serverPair(...altNames);
  await writeFile(join(dir, `${name}.pem`), pair.cert + ca.certPem);
  await writeFile(join(dir, `${name}.key`), pair.key, { mode: 0o600 });
}

/** A directory with everything tproxy needs, and its configuration. */
export interface Site extends AsyncDisposable {
  readonly dir: string;
  readonly input: TproxyConfigInput;
  readonly config: TproxyConfig;
}

export async function makeSite(
  changes: { wg?: Partial<TproxyConfigInput["wg"]>; proxy?: object } = {},
): Promise<Site> {
  const dir = await mkdtemp(join(tmpdir(), "tproxy-"));
  await writePair(dir, "rpc", "127.0.0.1");
  await writePair(dir, "wildcard", `*.${BASE}`);
  await writeFile(join(dir, "root.pem"), platform.rootCertificatePem);
  const input: TproxyConfigInput = {
    host: "127.0.0.1",
    port: 0,
    state_dir: join(dir, "state"),
    tls: { key: join(dir, "rpc.key"), certs: join(dir, "rpc.pem") },
    wg: {
      private_key_file: join(dir, "wg.key"),
      ip: "10.77.0.1",
      listen_port: 51820,
      client_ip_range: "10.77.0.0/24",
      interface: "wgtest",
      endpoint: "10.0.2.2:51820",
      ...changes.wg,
    },
    proxy: {
      cert_chain: join(dir, "wildcard.pem"),
      cert_key: join(dir, "wildcard.key"),
      base_domain: BASE,
      listen_addr: "127.0.0.1",
      listen_port: 0,
      ...changes.proxy,
    },
    attestation: { ...policy, insecure_simulated_roots: [join(dir, "root.pem")] },
  };
  return {
    dir,
    input,
    config: TproxyConfig.parse(input),
    [Symbol.asyncDispose]: () => rm(dir, { recursive: true, force: true }),
  };
}

export function verifier(): Promise<PeerVerifier> {
  return PeerVerifier.create({
    anchors: [{ kind: "simulated", sha256: platform.rootSha256 }],
    policy: PolicyConfig.parse(policy),
    collateral: { get: async (_keys, now) => platform.collateral(now) },
  });
}

export async function start(site: Site, parts: Partial<TproxyParts> = {}): Promise<Tproxy> {
  return startTproxy(site.config, {
    log: silentLogger(),
    verifier: await verifier(),
    wireguard: new MemoryWireGuard(),
    ...parts,
  });
}

export const idOf = (text: string): string => hex(sha256(text).subarray(0, 20));

export interface GuestShape {
  readonly app?: string;
  readonly instance?: string;
  /** 40 hex digits, where it is not made from `instance`. */
  readonly instanceId?: string;
  /** What the document is, where it is another one than the app began with. */
  readonly document?: string;
  /** PEM, the root CA of the KMS that the guest was started with, where it is not ours. */
  readonly kmsCa?: string;
  /** After the identity events. */
  readonly more?: readonly EventLogEntry[];
}

export const systemReady = runtimeEvent("system-ready", new Uint8Array());

/** What a guest of this platform makes quotes with. */
export async function guestEvidence(
  shape: GuestShape = {},
): Promise<{ provider: SimulatedProvider; eventLog: string }> {
  const appId = sha256(shape.app ?? "app").subarray(0, 20);
  const instanceId = fromHex(shape.instanceId ?? idOf(shape.instance ?? "instance"));
  const composeHash = sha256(shape.document ?? shape.app ?? "app");
  const none = new Uint8Array();
  const events = [
    runtimeEvent("system-preparing", none),
    runtimeEvent("rootfs-hash", sha256("rootfs")),
    runtimeEvent("app-id", appId),
    runtimeEvent("compose-hash", composeHash),
    runtimeEvent("upgraded-app-id", composeHash.subarray(0, 20)),
    runtimeEvent("ca-cert-hash", sha256(pemToDer(shape.kmsCa ?? ca.certPem))),
    runtimeEvent("instance-id", instanceId),
    runtimeEvent("boot-mr-done", none),
    ...(shape.more ?? []),
  ];
  const provider = createSimulatedProvider({ platform, launch });
  for (const event of events) await provider.extendRtmr(3, fromHex(event.digest));
  return { provider, eventLog: JSON.stringify([...(await provider.bootEvents()), ...events]) };
}

/** A guest of this platform that has booted. Whoever has it can have any quote made, as its containers can. */
export interface Guest {
  /** The key that it made before its containers ran. */
  readonly key: ReturnType<typeof generateP256>;
  /** Measures one event more. */
  extend(event: EventLogEntry): Promise<void>;
  evidence(reportData: Uint8Array): Promise<{ quote: Uint8Array; eventLog: string }>;
  /** An RA-TLS certificate with a quote of this moment, for the guest's key or another one. */
  identity(key?: ReturnType<typeof generateP256>): Promise<{ key: string; certChain: string }>;
}

export async function bootGuest(shape: GuestShape = {}): Promise<Guest> {
  const { provider, eventLog: booted } = await guestEvidence(shape);
  const events = JSON.parse(booted) as EventLogEntry[];
  const own = generateP256();
  return {
    key: own,
    extend: async (event) => {
      await provider.extendRtmr(3, fromHex(event.digest));
      events.push(event);
    },
    evidence: async (reportData) => ({
      quote: await provider.getQuote(reportData),
      eventLog: JSON.stringify(events),
    }),
    identity: async (key = own) => {
      const { chainPem } = await createRaTlsCertificate({
        key: key.privateKey,
        provider,
        eventLog: JSON.stringify(events),
        commonName: "guest",
      });
      return { key: key.privateKeyPem, certChain: chainPem };
    },
  };
}

/** Key and RA-TLS certificate of a guest of this platform. */
export async function guestIdentity(shape: GuestShape = {}): Promise<{ key: string; certChain: string }> {
  return (await bootGuest(shape)).identity();
}

/** A client of the RPC listener, with a guest's certificate or without one. */
export function rpcClient(url: string, identity?: { key: string; certChain: string }) {
  const transport = raTlsTransport({ url, caPem: ca.certPem, ...identity });
  return {
    ...createClient(tproxy.Tproxy, transport),
    [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose](),
  };
}

/** One registration as a guest makes it. */
export async function register(
  server: Pick<Tproxy, "url">,
  shape: GuestShape,
  clientPublicKey: string,
  clientVersion = 0,
  ports: { proxyProtocolPorts?: number[]; publicPorts?: number[] } = {},
) {
  await using client = rpcClient(server.url, await guestIdentity(shape));
  return await client.registerCvm({ clientPublicKey, clientVersion, ...ports });
}
