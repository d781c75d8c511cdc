import { readFile } from "node:fs/promises";
import { request } from "node:https";
import { join } from "node:path";
import { PolicyConfig, allowedImage, runtimeEvent } from "@dstack/attestation";
import type { EventLogEntry, Policy } from "@dstack/attestation";
import { fromHex, hex, sha256 } from "@dstack/core";
import { silentLogger } from "@dstack/daemon";
import { createClient } from "@dstack/prpc";
import { kms } from "@dstack/proto";
import { raTlsTransport } from "@dstack/ra-rpc";
import type { RaTlsTransport } from "@dstack/ra-rpc";
import { PeerVerifier, createRaTlsCertificate, generateP256, pemToDer } from "@dstack/ra-tls";
import type { P256KeyPair, PeerVerifierParts, QuoteSource } from "@dstack/ra-tls";
import { SimulatedPlatform, bareLaunch, createSimulatedProvider } from "@dstack/tdx-attest";
import type { SimulatedProviderParts } from "@dstack/tdx-attest";
import { KmsConfig, initKms, startKms } from "../src/index.js";
import type { Kms, KmsConfigInput, KmsParts } from "../src/index.js";
import { tempDir } from "./temp.js";

export const platform = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(3));
export const launch = bareLaunch("kms tests");

const empty = new Uint8Array();

/** An installation in a directory of its own: what `kms init` makes, and a configuration around it. */
export interface Installation {
  readonly dir: string;
  readonly config: KmsConfig;
  readonly caPem: string;
  readonly registryDir: string;
}

/**
 * @param replicas compose documents of replicas; given, there is an admin listener
 */
export async function install(
  changes: Partial<KmsConfigInput["core"]> = {},
  replicas?: readonly string[],
): Promise<Installation> {
  const dir = await tempDir();
  const certs = join(dir, "certs");
  await initKms(certs, { commonName: "test root", altNames: ["127.0.0.1"] });
  const registryDir = join(dir, "upgrades");
  const config = KmsConfig.parse({
    host: "127.0.0.1",
    port: 0,
    tls: { key: join(certs, "server.key"), certs: join(certs, "server.pem") },
    core: {
      root_ca_cert: join(certs, "root-ca.pem"),
      root_ca_key: join(certs, "root-ca.key"),
      cert_log_dir: join(dir, "log"),
      upgrade_registry_dir: registryDir,
      ...changes,
    },
    ...(replicas === undefined
      ? {}
      : {
          admin: {
            port: 0,
            replica_compose_hashes: replicas.map((compose) => hex(sha256(compose))),
            onboard_token_dir: join(dir, "tokens"),
          },
        }),
    attestation: { images: policy().images, insecure_simulated_roots: [] },
  });
  return { dir, config, caPem: await readFile(join(certs, "root-ca.pem"), "utf8"), registryDir };
}

/** Accepts the tests' image on the tests' platform. */
export function policy(changes: Partial<Policy> = {}): Policy {
  return {
    ...PolicyConfig.parse({ insecure_simulated_roots: ["root.pem"] }),
    images: { allow_all: false, allowed: [allowedImage("tests", launch)] },
    ...changes,
  };
}

export function verifierOf(changes: Partial<PeerVerifierParts> = {}): Promise<PeerVerifier> {
  return PeerVerifier.create({
    anchors: [{ kind: "simulated", sha256: platform.rootSha256 }],
    policy: policy(),
    collateral: { get: async (_keys, now) => platform.collateral(now) },
    ...changes,
  });
}

export async function start(installation: Installation, parts: Partial<KmsParts> = {}): Promise<Kms> {
  return startKms(installation.config, { log: silentLogger(), verifier: await verifierOf(), ...parts });
}

export interface GuestOptions {
  /** The app-compose document the VM runs. */
  readonly compose?: string;
  /** The document its app id comes from, where the app was upgraded. */
  readonly firstCompose?: string;
  readonly instance?: string;
  readonly caPem: string;
  /** Changes the list of events before it is extended. */
  readonly edit?: (events: EventLogEntry[]) => EventLogEntry[];
  readonly parts?: Partial<SimulatedProviderParts>;
}

export interface Guest {
  readonly appId: string;
  readonly instanceId: string;
  readonly provider: QuoteSource;
  readonly eventLog: string;
}

/** A guest as it stands before it asks for its keys. */
export async function bootGuest(options: GuestOptions): Promise<Guest> {
  const compose = options.compose ?? "compose";
  const appId = sha256(options.firstCompose ?? compose).subarray(0, 20);
  const instanceId = sha256(options.instance ?? "instance").subarray(0, 20);
  const boot = [
    runtimeEvent("system-preparing", empty),
    runtimeEvent("rootfs-hash", sha256("rootfs")),
    runtimeEvent("app-id", appId),
    runtimeEvent("compose-hash", sha256(compose)),
    runtimeEvent("upgraded-app-id", sha256(compose).subarray(0, 20)),
    runtimeEvent("ca-cert-hash", sha256(pemToDer(options.caPem))),
    runtimeEvent("instance-id", instanceId),
    runtimeEvent("boot-mr-done", empty),
  ];
  const events = options.edit?.(boot) ?? boot;
  const provider = createSimulatedProvider({ platform, launch, ...options.parts });
  for (const event of events) await provider.extendRtmr(3, fromHex(event.digest));
  const eventLog = JSON.stringify([...(await provider.bootEvents()), ...events]);
  return { appId: hex(appId), instanceId: hex(instanceId), provider, eventLog };
}

export type KmsClient = ReturnType<typeof clientOf> & AsyncDisposable;

function clientOf(transport: Parameters<typeof createClient>[1]) {
  return createClient(kms.KMS, transport);
}

/** A client without a certificate. */
export function anonymousClient(installation: Installation, server: Kms) {
  const transport = raTlsTransport({ url: server.url, caPem: installation.caPem });
  return { ...clientOf(transport), [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose]() };
}

/** A guest's way to the KMS: its RA-TLS certificate over its own key. */
export async function guestTransport(
  caPem: string,
  url: string,
  guest: Guest,
  key: P256KeyPair = generateP256(),
): Promise<RaTlsTransport> {
  const { chainPem: certChain } = await createRaTlsCertificate({
    key: key.privateKey,
    provider: guest.provider,
    eventLog: guest.eventLog,
    commonName: "guest",
  });
  return raTlsTransport({ url, caPem, key: key.privateKeyPem, certChain });
}

/** A quote over report data and the log that goes with it. */
export async function evidenceOf(
  guest: Guest,
  reportData: Uint8Array,
): Promise<{ quote: Uint8Array; eventLog: string }> {
  return { quote: await guest.provider.getQuote(reportData), eventLog: guest.eventLog };
}

/** A client that shows a guest's RA-TLS certificate over its own key. */
export async function guestClient(
  installation: Installation,
  server: Kms,
  guest: Guest,
  key: P256KeyPair = generateP256(),
) {
  const transport = await guestTransport(installation.caPem, server.url, guest, key);
  return { ...clientOf(transport), [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose]() };
}

/** A client that shows some certificate. */
export function certificateClient(
  installation: Installation,
  server: Kms,
  key: P256KeyPair,
  certChain: string,
) {
  const transport = raTlsTransport({
    url: server.url,
    caPem: installation.caPem,
    key: key.privateKeyPem,
    certChain,
  });
  return { ...clientOf(transport), [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose]() };
}

/**
 * A request as a stranger makes it: no certificate, no client library. A `content-length` above the body's length
 * leaves the request unfinished, so that only a server that does not wait for the body answers it.
 */
export function callRaw(
  server: Pick<Kms, "url">,
  caPem: string,
  path: string,
  body?: string,
  headers: Record<string, string> = {},
): Promise<{ status: number; body: string }> {
  return new Promise((resolve, reject) => {
    const method = body === undefined ? "GET" : "POST";
    const call = request(`${server.url}${path}`, { method, ca: caPem, headers, agent: false }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
      response.once("end", () => resolve({ status: response.statusCode ?? 0, body: text }));
    });
    call.once("error", reject);
    if ("content-length" in headers) call.write(body);
    else call.end(body);
  });
}
