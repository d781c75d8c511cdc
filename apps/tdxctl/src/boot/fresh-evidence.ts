import type { FreshPurpose } from "@dstack/attestation";
import { RpcError } from "@dstack/prpc";
import type { RaTlsSession } from "@dstack/ra-rpc";
import type { RuntimeEventLog } from "@dstack/tdx-attest";

/** As it goes over the wire, to the KMS and to tproxy alike. */
export interface FreshEvidence {
  readonly challenge: Uint8Array;
  readonly quote: Uint8Array;
  readonly eventLog: string;
}

/**
 * Makes a call with a quote over the server's challenge and over the connection we call on. A server that is older than
 * we are has no challenges, and decides by our certificate alone.
 * @param ask the server's `GetChallenge`, over the session
 * @param call gets the evidence, or undefined
 * @throws {RpcError} what the server says; `unavailable` when all of it should be tried again
 */
export async function withFreshEvidence<T>(
  session: RaTlsSession,
  events: RuntimeEventLog,
  purpose: FreshPurpose,
  ask: () => Promise<{ challenge: Uint8Array }>,
  call: (freshEvidence?: FreshEvidence) => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const challenge = await challengeOf(ask);
  if (challenge === undefined) return call();
  const evidence = await events.quote(session.freshReportData(purpose, challenge), signal);
  try {
    return await call({ challenge, ...evidence });
  } catch (err) {
    // The quote took too long, or the connection did not last: all of it is tried again.
    if (!(err instanceof RpcError) || err.code !== "conflict") throw err;
    throw new RpcError("unavailable", err.message, { cause: err });
  }
}

async function challengeOf(ask: () => Promise<{ challenge: Uint8Array }>): Promise<Uint8Array | undefined> {
  try {
    return (await ask()).challenge;
  } catch (err) {
    if (err instanceof RpcError && err.code === "not_found") return undefined;
    throw err;
  }
}
