import { PolicyConfig, allowedImage, runtimeEvent } from "@dstack/attestation";
import type { EventLogEntry, Policy } from "@dstack/attestation";
import { fromHex, sha256 } from "@dstack/core";
import { SimulatedPlatform, bareLaunch, createSimulatedProvider } from "@dstack/tdx-attest";
import type { LaunchMeasurements, SimulatedProvider, SimulatedProviderParts } from "@dstack/tdx-attest";
import { createRaTlsCertificate, generateP256, pemToDer } from "../src/index.js";
import type { P256KeyPair, PeerVerifierParts } from "../src/index.js";

/** 2026-06-01T00:00:00Z: every test has its own clock. */
export const NOW = 1780272000;

export const platform = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(1));
export const launch = bareLaunch("ra-tls tests");
export const composeHash = sha256("compose");
export const appId = composeHash.subarray(0, 20);
export const instanceId = sha256("instance").subarray(0, 20);

const empty = new Uint8Array();

/** The events of a good boot up to the request for keys. */
export function bootEvents(): EventLogEntry[] {
  return [
    runtimeEvent("system-preparing", empty),
    runtimeEvent("rootfs-hash", sha256("rootfs")),
    runtimeEvent("app-id", appId),
    runtimeEvent("compose-hash", composeHash),
    runtimeEvent("upgraded-app-id", appId),
    runtimeEvent("ca-cert-hash", sha256("kms ca")),
    runtimeEvent("instance-id", instanceId),
    runtimeEvent("boot-mr-done", empty),
  ];
}

export interface Guest {
  readonly provider: SimulatedProvider;
  readonly eventLog: string;
}

/** A guest that has extended these events, and the log that says so. */
export async function startGuest(
  events: readonly EventLogEntry[] = bootEvents(),
  parts: Partial<SimulatedProviderParts> = {},
): Promise<Guest> {
  const provider = createSimulatedProvider({ platform, launch, ...parts });
  for (const event of events) await provider.extendRtmr(3, fromHex(event.digest));
  return { provider, eventLog: JSON.stringify([...(await provider.bootEvents()), ...events]) };
}

/** The certificate of a guest, DER, valid around {@link NOW}. */
export async function certificateOf(
  guest: Guest,
  changes: Partial<Parameters<typeof createRaTlsCertificate>[0]> & { notBefore?: Date } = {},
  key: P256KeyPair = generateP256(),
): Promise<Uint8Array> {
  const { certPem } = await createRaTlsCertificate({
    key: key.privateKey,
    provider: guest.provider,
    eventLog: guest.eventLog,
    commonName: "guest",
    notBefore: new Date((NOW - 60) * 1000),
    notAfterMs: (NOW + 86_400) * 1000,
    ...changes,
  });
  return pemToDer(certPem);
}

export function policyFor(measured: LaunchMeasurements, changes: Partial<Policy> = {}): Policy {
  const policy = PolicyConfig.parse({
    insecure_simulated_roots: ["simulated-root.pem"],
    images: { allowed: [allowedImage("tests", measured)] },
  });
  return { ...policy, ...changes };
}

/** A verifier's parts that accept {@link startGuest}. */
export function verifierParts(changes: Partial<PeerVerifierParts> = {}): PeerVerifierParts {
  return {
    anchors: [{ kind: "simulated", sha256: platform.rootSha256 }],
    policy: policyFor(launch),
    collateral: { get: async (_keys, now) => platform.collateral(now) },
    clock: () => NOW,
    ...changes,
  };
}
