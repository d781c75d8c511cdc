import type { TLSSocket } from "node:tls";
import type { TlsSession } from "@dstack/prpc";

/** RFC 5705 §4: labels that begin so are for private use. */
const EXPORTER_LABEL = "EXPERIMENTAL-dstack-fresh-evidence";
const EXPORTER_BYTES = 32;

/**
 * What only the two ends of a TLS connection know. Somebody who terminates TLS in the middle has two connections, and
 * two different values. It covers the server's certificate but not the client's: that is signed later (RFC 8446 §7.5).
 * @param socket a finished handshake
 */
export function sessionOf(socket: TLSSocket): TlsSession {
  // Not all of the types know that an empty context may be left out; in TLS 1.3 the two are the same.
  return {
    exporter: new Uint8Array(socket.exportKeyingMaterial(EXPORTER_BYTES, EXPORTER_LABEL, Buffer.alloc(0))),
  };
}
