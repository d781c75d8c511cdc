import {
  INTEL_ROOT,
  QuoteVerifier,
  assertPolicyUsable,
  checkPolicy,
  leavesOf,
  raTlsReportData,
  simulatedAnchor,
} from "@dstack/attestation";
import type { AnchorKind, AppIdentity, Policy, TrustAnchor, VerifiedEvidence } from "@dstack/attestation";
import { CodedError, InputError, Turns, errorMessage, hex, readRegularFile } from "@dstack/core";
import type { AppId, InstanceId } from "@dstack/core";
import { readCertificateDer } from "./certificate-der.js";
import type { CertificateParts } from "./certificate-der.js";
import { evaluateForm } from "./certificate-form.js";
import { CollateralClient } from "./collateral/client.js";
import type { CollateralEvent } from "./collateral/events.js";
import type { CollateralSource } from "./collateral/source.js";
import { collateralOptions } from "./config.js";
import type { AttestationConfig } from "./config.js";
import { evidenceOf } from "./read-evidence.js";
import type { CertificateEvidence } from "./read-evidence.js";

/** A peer was refused for what surrounds its quote: the certificate, the collateral, or the guest it is of. */
export class PeerError extends CodedError<
  "no_evidence" | "certificate_invalid" | "collateral_rollback" | "another_guest"
> {
  override name = "PeerError";

  get rpcCode(): "unauthenticated" | "permission_denied" {
    return this.code === "no_evidence" ? "unauthenticated" : "permission_denied";
  }
}

/** Lower-case hex, 48 bytes each. */
export interface Measurements {
  readonly mrtd: string;
  readonly rtmr0: string;
  readonly rtmr1: string;
  readonly rtmr2: string;
  readonly rtmr3: string;
}

const seal: unique symbol = Symbol("made by verifyPeer");

/**
 * A peer whose evidence was verified and passed this daemon's policy. It is what handlers take as identity.
 * Nothing outside this file can make one: the constructor wants a symbol that is not exported, and the private
 * field makes look-alike objects a type error.
 */
export class VerifiedPeer {
  readonly #made = seal;
  readonly appId: AppId;
  readonly instanceId: InstanceId;
  /** 64 hex digits: SHA-256 of the running app-compose document. */
  readonly composeHash: string;
  /** First 40 hex digits of `composeHash`. Differs from `appId` after an upgrade. */
  readonly upgradedAppId: AppId;
  /** 64 hex digits. */
  readonly rootfsHash: string;
  /** 64 hex digits: SHA-256 of the KMS CA certificate the guest was given. */
  readonly caCertHash: string;
  /** The guest has opened its sockets: from then on a container could have obtained this quote (E5). */
  readonly systemReady: boolean;
  /** `simulated`: nothing but a seed stands behind this evidence. */
  readonly anchor: AnchorKind;
  readonly measurements: Measurements;
  readonly tcbStatus: string;
  readonly advisories: readonly string[];
  /** 32 hex digits: the processor that vouches. Should its key get out, this tells what was given to whom. */
  readonly ppid: string;
  /** 12 hex digits: the kind of platform. */
  readonly fmspc: string;
  /** Of the collateral it was judged by. */
  readonly tcbEvaluation: number;
  /** DER SubjectPublicKeyInfo of the key that the TLS handshake was made with. */
  readonly publicKeySpki: Uint8Array;

  constructor(token: typeof seal, evidence: VerifiedEvidence, publicKeySpki: Uint8Array) {
    if (token !== seal) throw new TypeError("a VerifiedPeer comes from verifyPeer only");
    const { identity, quote } = evidence;
    const [rtmr0, rtmr1, rtmr2, rtmr3] = quote.body.rtmr;
    this.appId = identity.appId;
    this.instanceId = identity.instanceId;
    this.composeHash = identity.composeHash;
    this.upgradedAppId = identity.upgradedAppId;
    this.rootfsHash = identity.rootfsHash;
    this.caCertHash = identity.caCertHash;
    this.systemReady = identity.systemReady;
    this.anchor = quote.anchor;
    this.measurements = {
      mrtd: hex(quote.body.mrTd),
      rtmr0: hex(rtmr0),
      rtmr1: hex(rtmr1),
      rtmr2: hex(rtmr2),
      rtmr3: hex(rtmr3),
    };
    this.tcbStatus = quote.status;
    this.advisories = quote.advisories;
    this.ppid = quote.ppid;
    this.fmspc = quote.fmspc;
    this.tcbEvaluation = quote.evaluationNumber;
    this.publicKeySpki = publicKeySpki;
  }

  /** True for objects that {@link PeerVerifier.verifyPeer} made, and for nothing else. */
  static is(value: unknown): value is VerifiedPeer {
    return typeof value === "object" && value !== null && #made in value;
  }
}

export interface PeerVerifierParts {
  readonly anchors: readonly TrustAnchor[];
  readonly policy: Policy;
  readonly collateral: CollateralSource;
  /** Unix seconds; the system clock by default. */
  readonly clock?: () => number;
}

export interface PeerVerifierOptions {
  /** What happens with collateral, to log and to count. */
  readonly onCollateralEvent?: (event: CollateralEvent) => void;
  /** Until it aborts, collateral is refreshed in the background also when no peer comes. */
  readonly signal?: AbortSignal;
}

/** Judges the certificates of RA-TLS peers by one policy. */
export class PeerVerifier {
  /** SHA-256 (hex) of the simulated roots that are trusted: who trusts one has to say so. */
  readonly simulatedRoots: readonly string[];
  readonly policy: Policy;
  readonly #parts: PeerVerifierParts;
  readonly #quotes: QuoteVerifier;
  /** Some milliseconds of processor time each: a crowd of guests must not keep everything else waiting. */
  readonly #turns = new Turns();
  /** Highest TCB evaluation number verified, by kind of root and FMSPC. */
  readonly #evaluation = new Map<string, number>();

  private constructor(parts: PeerVerifierParts) {
    // E9: an allow-list that allows nothing is a mistake, and one that allows all must be spelled out.
    assertPolicyUsable(parts.policy);
    this.#parts = parts;
    this.#quotes = new QuoteVerifier(parts);
    this.policy = parts.policy;
    this.simulatedRoots = parts.anchors.filter((a) => a.kind === "simulated").map((a) => a.sha256);
  }

  /**
   * From a daemon's `[attestation]` section, or from parts.
   * @throws PolicyError an allow-list that allows nothing (E9)
   * @throws {InputError} a simulated root that is not a certificate
   * @throws a system error when a root's file cannot be read
   */
  static async create(
    source: AttestationConfig | PeerVerifierParts,
    options: PeerVerifierOptions = {},
  ): Promise<PeerVerifier> {
    if ("anchors" in source) return new PeerVerifier(source);
    const simulated = await Promise.all(source.insecure_simulated_roots.map(readSimulatedRoot));
    const anchors = [INTEL_ROOT, ...simulated];
    const collateral = new CollateralClient({
      ...(await collateralOptions(source)),
      anchors,
      onEvent: options.onCollateralEvent,
    });
    if (options.signal !== undefined) void collateral.keepFresh(systemClock, options.signal);
    return new PeerVerifier({ anchors, policy: source, collateral });
  }

  /**
   * Verifies the certificate a peer completed its TLS handshake with: its form and dates, its quote with current
   * collateral, the event log, that the quote is over this very key, and the policy (docs/attestation.md, RA-TLS).
   * @param certDer the certificate as received
   * @param now Unix seconds
   * @throws {PeerError} no evidence in it, or not a certificate we accept
   * @throws {InputError} malformed
   * @throws CollateralError, QuoteError, PolicyError and the other errors of `verifyEvidence` and `checkPolicy`
   */
  async verifyPeer(certDer: Uint8Array, now: number = this.#now()): Promise<VerifiedPeer> {
    const certificate = readCertificateDer(certDer);
    const evidence = evidenceOf(certificate);
    if (evidence === undefined) throw new PeerError("no_evidence", "certificate carries no quote");
    checkForm(certificate, now);
    // E4: the handshake proved possession of this key; the quote must be over it.
    const verified = await this.#verify(evidence, raTlsReportData(certificate.spki), now);
    // Whoever reads the certificate alone would take it for another app's.
    if (evidence.appId !== undefined && evidence.appId !== verified.identity.appId) {
      throw new PeerError("certificate_invalid", "RA-TLS certificate names another app than its evidence");
    }
    return new VerifiedPeer(seal, verified, Uint8Array.from(certificate.spki));
  }

  /**
   * Verifies further evidence of a peer, as strictly as that in its certificate: it must be of the same guest in the
   * same state.
   * @param reportData the 64 bytes the quote must have been made over
   * @param now Unix seconds
   * @throws {PeerError} `another_guest`
   * @throws the errors of {@link verifyPeer}
   */
  async verifyAgain(
    peer: VerifiedPeer,
    evidence: Pick<CertificateEvidence, "quote" | "eventLog">,
    reportData: Uint8Array,
    now: number = this.#now(),
  ): Promise<VerifiedPeer> {
    const verified = await this.#verify(evidence, reportData, now);
    const again = new VerifiedPeer(seal, verified, peer.publicKeySpki);
    requireSameGuest(peer, again);
    return again;
  }

  /**
   * Verifies evidence that authenticates no connection, such as for the key of a public certificate: as strictly as a
   * peer's, but what it shows is only that a guest made this statement.
   * @param reportData the 64 bytes the quote must have been made over
   * @param now Unix seconds
   * @throws the errors of {@link verifyPeer}
   */
  async verifyStatement(
    evidence: Pick<CertificateEvidence, "quote" | "eventLog">,
    reportData: Uint8Array,
    now: number = this.#now(),
  ): Promise<AppIdentity> {
    return (await this.#verify(evidence, reportData, now)).identity;
  }

  async #verify(
    evidence: Pick<CertificateEvidence, "quote" | "eventLog">,
    reportData: Uint8Array,
    now: number,
  ): Promise<VerifiedEvidence> {
    // With our anchors: a stranger with a root of his own does not choose what we fetch.
    const keys = this.#quotes.collateralKeys(evidence.quote, now);
    const collateral = await this.#parts.collateral.get(keys, now);
    await this.#turns.take();
    const verified = this.#quotes.verifyEvidence({
      quote: evidence.quote,
      eventLog: evidence.eventLog,
      collateral,
      now,
      reportData,
    });
    this.#refuseRollback(verified);
    checkPolicy(verified, this.policy);
    return verified;
  }

  /** A mirror that serves older, still unexpired collateral would bring revoked platforms back (E8). */
  #refuseRollback({ quote }: VerifiedEvidence): void {
    const name = `${quote.anchor}-${quote.fmspc}`;
    const seen = this.#evaluation.get(name) ?? 0;
    if (quote.evaluationNumber < seen) {
      throw new PeerError("collateral_rollback", "collateral is older than what was verified before", {
        seen,
        got: quote.evaluationNumber,
      });
    }
    this.#evaluation.set(name, quote.evaluationNumber);
  }

  #now(): number {
    return (this.#parts.clock ?? systemClock)();
  }
}

const systemClock = (): number => Math.floor(Date.now() / 1000);

function checkForm(certificate: CertificateParts, now: number): void {
  const [failure] = leavesOf(evaluateForm(certificate, now), "fail");
  if (failure?.code !== undefined) throw new PeerError(failure.code, failure.detail);
}

/** Registers say everything that events and identity say; both are compared, so that neither has to be believed alone. */
function requireSameGuest(before: VerifiedPeer, again: VerifiedPeer): void {
  const facts = (peer: VerifiedPeer): Record<string, string> => ({
    ...peer.measurements,
    anchor: peer.anchor,
    app_id: peer.appId,
    instance_id: peer.instanceId,
    compose_hash: peer.composeHash,
    rootfs_hash: peer.rootfsHash,
    ca_cert_hash: peer.caCertHash,
  });
  const second = facts(again);
  const changed = Object.entries(facts(before)).filter(([name, value]) => second[name] !== value);
  if (changed.length === 0) return;
  const names = changed.map(([name]) => name).join(", ");
  throw new PeerError("another_guest", `the second quote is not of the guest in the certificate: ${names}`);
}

/** A root certificate is a few hundred bytes. */
const MAX_ROOT_PEM_BYTES = 64 * 1024;

async function readSimulatedRoot(path: string): Promise<TrustAnchor> {
  const pem = Buffer.from(await readRegularFile(path, MAX_ROOT_PEM_BYTES)).toString("utf8");
  try {
    return simulatedAnchor(pem);
  } catch (err) {
    throw new InputError(`insecure_simulated_roots: ${path}: ${errorMessage(err)}`, { cause: err });
  }
}
