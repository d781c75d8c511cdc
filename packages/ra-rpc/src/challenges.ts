import { randomBytes } from "node:crypto";
import { freshReportData } from "@dstack/attestation";
import type { FreshPurpose } from "@dstack/attestation";
import { sameBytes, withDeadline } from "@dstack/core";
import { RpcError } from "@dstack/prpc";
import type { Call, TlsSession } from "@dstack/prpc";
import type { PeerVerifier, VerifiedPeer } from "@dstack/ra-tls";
import { DEFAULT_VERIFY_MS, evidenceRefusal, requireAttested } from "./admission.js";

const CHALLENGE_BYTES = 32;
/** A quote takes well under a second on hardware, and some seconds where every instruction is emulated. */
const DEFAULT_LIFETIME_MS = 30_000;
/** As many guests may be between challenge and answer at one time. */
const DEFAULT_MAX_OUTSTANDING = 1024;

export interface ChallengesOptions {
  /** What the evidence is for: evidence for one purpose is none for another. */
  readonly purpose: FreshPurpose;
  readonly verifier: Pick<PeerVerifier, "verifyAgain">;
  readonly lifetimeMs?: number;
  readonly maxOutstanding?: number;
  /** Milliseconds that never go back, whatever becomes of the time of day. */
  readonly clock?: () => number;
}

/** A challenge and what the caller made of it, as it came over the wire. */
export interface ChallengeAnswer {
  readonly challenge: Uint8Array;
  readonly quote: Uint8Array;
  /** JSON array text. */
  readonly eventLog: string;
}

/**
 * Asks attested callers for evidence that was made just now and for the connection it comes over (docs/threat-model.md,
 * E13). The certificate of an RA-TLS client proves that a guest had the key of this connection when it made the
 * certificate; a copied key, or a guest that is talked to through somebody else's connection, is only seen here.
 */
export class Challenges {
  readonly #options: ChallengesOptions;
  readonly #clock: () => number;
  readonly #lifetimeMs: number;
  /** One a connection. All live equally long, so the first one is the first to expire. */
  readonly #outstanding = new Map<TlsSession, { challenge: Uint8Array; expiresAt: number }>();

  constructor(options: ChallengesOptions) {
    this.#options = options;
    this.#clock = options.clock ?? (() => performance.now());
    this.#lifetimeMs = options.lifetimeMs ?? DEFAULT_LIFETIME_MS;
  }

  /**
   * Makes a challenge for the connection of a call, in place of an earlier one.
   * @throws {RpcError} `too_many` are outstanding
   */
  issue(call: Call<VerifiedPeer>): { challenge: Uint8Array; expiresInSeconds: number } {
    const session = requireSession(call);
    const now = this.#clock();
    this.#outstanding.delete(session);
    for (const [other, { expiresAt }] of this.#outstanding) {
      if (expiresAt > now) break;
      this.#outstanding.delete(other);
    }
    const max = this.#options.maxOutstanding ?? DEFAULT_MAX_OUTSTANDING;
    const expiresInSeconds = Math.floor(this.#lifetimeMs / 1000);
    if (this.#outstanding.size >= max) {
      throw new RpcError("too_many", "too many challenges are waiting for an answer; try again later", {
        retryAfterSeconds: expiresInSeconds,
      });
    }
    const challenge = new Uint8Array(randomBytes(CHALLENGE_BYTES));
    this.#outstanding.set(session, { challenge, expiresAt: now + this.#lifetimeMs });
    return { challenge, expiresInSeconds };
  }

  /**
   * Verifies the answer to the challenge of this connection. The challenge is used up by it, whatever the result.
   * @returns the caller by its fresh evidence: the same guest as in its certificate, in the same state
   * @throws {RpcError} `conflict`: not the challenge of this connection, or too late; a new one has to be asked for.
   * `permission_denied`: the evidence is refused
   */
  async verify(call: Call<VerifiedPeer>, answer: ChallengeAnswer): Promise<VerifiedPeer> {
    const peer = requireAttested(call);
    const session = requireSession(call);
    this.#take(session, answer.challenge);
    const { challenge, quote, eventLog } = answer;
    const reportData = freshReportData(this.#options.purpose, {
      challenge,
      exporter: session.exporter,
      spki: peer.publicKeySpki,
    });
    try {
      return await withDeadline("verifying the fresh evidence", DEFAULT_VERIFY_MS, () =>
        this.#options.verifier.verifyAgain(peer, { quote, eventLog }, reportData),
      );
    } catch (err) {
      throw evidenceRefusal(err instanceof Error ? err : new Error(String(err)));
    }
  }

  #take(session: TlsSession, challenge: Uint8Array): void {
    const expected = this.#outstanding.get(session);
    this.#outstanding.delete(session);
    const valid = expected !== undefined && sameBytes(expected.challenge, challenge);
    if (valid && this.#clock() < expected.expiresAt) return;
    throw new RpcError(
      "conflict",
      "this is not the challenge of this connection, or it has expired: ask for a new one and answer it on the same connection",
    );
  }
}

function requireSession(call: Call<VerifiedPeer>): TlsSession {
  if (call.session !== undefined) return call.session;
  throw new Error("a listener without RA-TLS cannot bind evidence to connections");
}
