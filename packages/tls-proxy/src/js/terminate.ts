import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import type { SecureContext } from "node:tls";
import { TimeoutError } from "@dstack/core";
import type { ClientHello } from "../client-hello.js";

/** Not a protocol of anybody: Node answers `no_application_protocol` to whoever offers others. */
const NOBODYS = ["none"];

/**
 * The protocols to choose from. We forward bytes, so HTTP/2 may only be agreed on where the app speaks it in clear
 * text, which `g` names say; and not with a browser, which would send other apps' requests along on a connection
 * whose certificate is theirs, too (docs/decisions/http2-coalescing.md): every browser also offers `http/1.1`.
 * A client of another name that offers neither is not refused: not everything is HTTP.
 */
export function protocolsFor(mode: "terminate" | "http2", hello: ClientHello): string[] {
  if (mode === "http2") return hello.alpn.includes("http/1.1") ? NOBODYS : ["h2"];
  return hello.alpn.includes("http/1.1") ? ["http/1.1"] : [];
}

/**
 * Ends TLS on a socket whose ClientHello has been put back.
 * @throws when the handshake fails or takes longer than `limitMs`; the socket is closed then
 */
export function terminateTls(
  socket: Socket,
  options: { secureContext: SecureContext; protocols: string[]; limitMs: number },
): Promise<TLSSocket> {
  return new Promise((resolve, reject) => {
    const tls = new TLSSocket(socket, {
      isServer: true,
      secureContext: options.secureContext,
      ...(options.protocols.length > 0 ? { ALPNProtocols: options.protocols } : {}),
    });
    const timer = setTimeout(() => fail(new TimeoutError("TLS handshake took too long")), options.limitMs);
    const settle = (): void => {
      clearTimeout(timer);
      tls.off("_tlsError", fail).off("close", closed);
    };
    const fail = (err: Error): void => {
      settle();
      // Gives OpenSSL's alert the time to leave; the error after it says nothing new.
      tls.destroySoon();
      reject(err);
    };
    const closed = (): void => fail(new Error("client closed during the TLS handshake"));
    // An error without listener would end the process; the relay adds its own before the next byte.
    tls.on("error", fail);
    tls.once("_tlsError", fail).once("close", closed);
    tls.once("secure", () => {
      settle();
      resolve(tls);
    });
  });
}
