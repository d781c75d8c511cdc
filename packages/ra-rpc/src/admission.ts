import type { TLSSocket } from "node:tls";
import { InputError, TimeoutError, withDeadline } from "@dstack/core";
import { RpcError, toRpcError } from "@dstack/prpc";
import type { Admission, Call } from "@dstack/prpc";
import { VerifiedPeer } from "@dstack/ra-tls";
import type { PeerVerifier } from "@dstack/ra-tls";
import { sessionOf } from "./session.js";

/** What is needed of a PeerVerifier here. */
export type Verifier = Pick<PeerVerifier, "verifyPeer">;

/** How long verifying one peer may take, fetching collateral included. */
export const DEFAULT_VERIFY_MS = 15_000;

/**
 * Judges the peer of a finished handshake. Never rejects: a peer without a certificate has an empty admission, one
 * with evidence that is not accepted has only a `peerError`.
 */
export async function admitPeer(
  socket: TLSSocket,
  verifier: Verifier,
  limitMs: number = DEFAULT_VERIFY_MS,
): Promise<Admission<VerifiedPeer>> {
  // A resumed session comes without the certificate that its evidence was in. We issue no tickets; refuse all the same.
  if (socket.isSessionReused()) return {};
  const certificate = socket.getPeerX509Certificate();
  // `authorized` and `authorizationError` say nothing here: RA-TLS certificates chain to nobody (K1).
  if (certificate === undefined) return {};
  try {
    const session = sessionOf(socket);
    const peer = await withDeadline("verifying the client's evidence", limitMs, () =>
      verifier.verifyPeer(new Uint8Array(certificate.raw)),
    );
    return { peer, session };
  } catch (err) {
    return { peerError: err instanceof Error ? err : new Error(String(err)) };
  }
}

/**
 * The refusal of a peer whose evidence was not accepted: 403 with the reason, 401 for a certificate without
 * evidence, 503 when the evidence could not be judged in time.
 */
export function evidenceRefusal(err: Error): RpcError {
  if (err instanceof TimeoutError) return new RpcError("unavailable", err.message, { cause: err });
  if (err instanceof InputError) {
    return new RpcError("permission_denied", `evidence refused: ${err.message}`, { cause: err });
  }
  const known = toRpcError(err);
  if (known.code === "permission_denied") {
    return new RpcError(known.code, `evidence refused: ${known.message}`, { cause: err });
  }
  if (known.code === "internal") {
    return new RpcError("permission_denied", "evidence refused: it could not be verified", { cause: err });
  }
  return known;
}

/**
 * The caller's verified identity; handlers take nothing else as identity.
 * @throws {RpcError} `unauthenticated` without a client certificate or without evidence in it, `permission_denied`
 * when the evidence was not accepted
 */
export function requireAttested(call: Call<VerifiedPeer>): VerifiedPeer {
  if (call.peerError !== undefined) throw evidenceRefusal(call.peerError);
  if (call.peer === undefined || !VerifiedPeer.is(call.peer)) {
    throw new RpcError("unauthenticated", "a client certificate with attestation evidence is required");
  }
  return call.peer;
}

/** As the `guard` of a service: every method needs a verified caller, before its body is read (K1). */
export function attested(_method: string, call: Call<VerifiedPeer>): void {
  requireAttested(call);
}
