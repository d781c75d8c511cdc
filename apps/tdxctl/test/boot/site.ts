import { randomBytes } from "node:crypto";
import { PolicyConfig, allowedImage } from "@dstack/attestation";
import { utf8 } from "@dstack/core";
import { silentLogger } from "@dstack/daemon";
import { RpcError, implement } from "@dstack/prpc";
import { kms, tproxy } from "@dstack/proto";
import {
  CertificateAuthority,
  PeerVerifier,
  appIdExtension,
  generateP256,
  x25519PublicKey,
} from "@dstack/ra-tls";
import type { VerifiedPeer } from "@dstack/ra-tls";
import { Challenges, listenRaRpc, requireAttested } from "@dstack/ra-rpc";
import { SimulatedPlatform, bareLaunch, createSimulatedProvider } from "@dstack/tdx-attest";
import type { QuoteProvider } from "@dstack/tdx-attest";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import type { RawShare } from "../../src/boot/share.js";

const platform = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(5));
const launch = bareLaunch("boot tests");
const inAnHour = (): Date => new Date(Date.now() + 3_600_000);

/** A KMS and a tproxy that verify for real and answer with what a test says. */
export interface Site extends AsyncDisposable {
  readonly seen: VerifiedPeer[];
  /** For each answered GetAppKey, whether it came with fresh evidence. */
  readonly fresh: boolean[];
  /** Off: a KMS that has no GetChallenge yet. */
  hasChallenges: boolean;
  readonly registered: string[];
  readonly registrations: RegistrationSeen[];
  /** Answers a registration, or throws. */
  onRegister: (seen: RegistrationSeen) => TunnelAnswer;
  readonly envKey: Uint8Array;
  readonly envPublicKey: Uint8Array;
  readonly diskKey: Uint8Array;
  /** Changes what the KMS answers, or throws. */
  onGetAppKey: (answer: KeyAnswer) => KeyAnswer;
  provider(): QuoteProvider;
  share(changes?: Partial<RawShare>, compose?: object): RawShare;
}

/** One registration as tproxy sees it. */
export interface RegistrationSeen {
  readonly peer: VerifiedPeer;
  readonly fresh: boolean;
  /** Of WireGuard. */
  readonly key: string;
  readonly proxyProtocolPorts: readonly number[];
  readonly publicPorts: readonly number[];
}

export interface TunnelAnswer {
  wg: { serverPublicKey: string; clientIp: string; serverIp: string; serverEndpoint: string };
  servers?: { publicKey: string; ip: string; endpoint: string; rpcUrl: string }[];
}

export interface KeyAnswer {
  appKey: string;
  diskCryptKey: Uint8Array;
  envCryptKey: Uint8Array;
  certificateChain: string[];
}

export async function startSite(): Promise<Site> {
  const ca = await CertificateAuthority.create({ commonName: "test KMS" });
  const serverKey = generateP256();
  const certChain = await ca.issue({
    publicKey: serverKey.publicKey,
    commonName: "server",
    altNames: ["127.0.0.1"],
    usages: ["serverAuth"],
    notAfter: inAnHour(),
  });
  const verifier = await PeerVerifier.create({
    anchors: [{ kind: "simulated", sha256: platform.rootSha256 }],
    policy: PolicyConfig.parse({
      insecure_simulated_roots: ["root.pem"],
      images: { allowed: [allowedImage("tests", launch)] },
    }),
    collateral: { get: async (_keys, now) => platform.collateral(now) },
  });
  const challenges = new Challenges({ purpose: "kms-challenge", verifier });
  const tproxyChallenges = new Challenges({ purpose: "tproxy-register", verifier });
  const envKey = new Uint8Array(randomBytes(32));
  const server = generateKeyPair();
  const parts = {
    seen: [] as VerifiedPeer[],
    fresh: [] as boolean[],
    hasChallenges: true,
    registered: [] as string[],
    registrations: [] as RegistrationSeen[],
    onRegister: (seen: RegistrationSeen): TunnelAnswer => {
      parts.registered.push(seen.peer.instanceId);
      parts.registrations.push(seen);
      return {
        wg: {
          serverPublicKey: server.publicKey,
          clientIp: "10.9.0.2",
          serverIp: "10.9.0.1",
          serverEndpoint: "10.0.2.2:44",
        },
      };
    },
    envKey,
    envPublicKey: x25519PublicKey(envKey),
    diskKey: new Uint8Array(randomBytes(32)),
    onGetAppKey: (answer: KeyAnswer): KeyAnswer => answer,
  };
  const appKey = generateP256();
  const listener = await listenRaRpc({
    host: "127.0.0.1",
    port: 0,
    key: serverKey.privateKeyPem,
    certChain,
    verifier,
    log: silentLogger(),
    services: [
      implement<typeof kms.KMS, VerifiedPeer>(kms.KMS, {
        getChallenge: async (_request, call) => {
          requireAttested(call);
          if (!parts.hasChallenges) throw new RpcError("not_found", "unknown method GetChallenge");
          return challenges.issue(call);
        },
        getAppKey: async ({ freshEvidence }, call) => {
          const peer =
            freshEvidence === undefined
              ? requireAttested(call)
              : await challenges.verify(call, freshEvidence);
          parts.fresh.push(freshEvidence !== undefined);
          parts.seen.push(peer);
          const certPem = await ca.issue({
            publicKey: appKey.publicKey,
            commonName: peer.appId,
            ca: { pathLength: 0 },
            extensions: [appIdExtension(peer.appId)],
            notAfter: inAnHour(),
          });
          return parts.onGetAppKey({
            appKey: appKey.privateKeyPem,
            diskCryptKey: parts.diskKey,
            envCryptKey: envKey,
            certificateChain: [certPem, ca.certPem],
          });
        },
        getAppEnvEncryptPubKey: async () => ({}),
        getMeta: async () => ({}),
      }),
      implement<typeof tproxy.Tproxy, VerifiedPeer>(tproxy.Tproxy, {
        getChallenge: async (_request, call) => tproxyChallenges.issue(call),
        registerCvm: async (request, call) => {
          const { freshEvidence } = request;
          const peer =
            freshEvidence === undefined
              ? requireAttested(call)
              : await tproxyChallenges.verify(call, freshEvidence);
          const { clientPublicKey: key, proxyProtocolPorts, publicPorts } = request;
          const fresh = freshEvidence !== undefined;
          return parts.onRegister({ peer, fresh, key, proxyProtocolPorts, publicPorts });
        },
        list: async () => ({}),
        acmeInfo: async () => ({}),
      }),
    ],
  });
  return Object.assign(parts, {
    provider: () => createSimulatedProvider({ platform, launch }),
    share: (changes: Partial<RawShare> = {}, compose: object = {}): RawShare => ({
      appCompose: utf8(
        JSON.stringify({
          name: "hello",
          runner: "docker-compose",
          docker_compose_file: "services: {}",
          features: ["kms", "tproxy-net"],
          allowed_envs: ["TOKEN"],
          proxy_protocol_ports: [8443],
          public_ports: [8443],
          ...compose,
        }),
      ),
      config: utf8(JSON.stringify({ kms_url: listener.url, tproxy_url: listener.url })),
      caCert: utf8(ca.certPem),
      encryptedEnv: undefined,
      instanceInfo: undefined,
      simulator: undefined,
      authorizedKeys: undefined,
      ...changes,
    }),
    [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose](),
  });
}
