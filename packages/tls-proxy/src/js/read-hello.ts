import type { Socket } from "node:net";
import { ClientHelloReader } from "../client-hello.js";
import type { Alert, ClientHello } from "../client-hello.js";

export type FirstBytes =
  | { readonly kind: "hello"; readonly hello: ClientHello }
  | { readonly kind: "not_tls"; readonly alert: Alert }
  | { readonly kind: "plain_http" | "bad_hello" | "slow_hello" | "client_gone" };

/** An HTTP request line begins with the name of a method, in capitals by the book. */
const HTTP_METHOD_START = /^[A-Za-z]/;

/**
 * Waits for the ClientHello and puts every byte back, so that the socket can be handed to TLS or to an app untouched.
 * The socket is paused afterwards. One deadline counts from now, not from the last byte.
 */
export function readClientHello(
  socket: Socket,
  limits: { readonly firstByteMs: number; readonly helloMs: number },
): Promise<FirstBytes> {
  return new Promise((resolve) => {
    const reader = new ClientHelloReader();
    const chunks: Buffer[] = [];
    const firstByte = setTimeout(
      () => finish({ kind: "slow_hello" }),
      Math.min(limits.firstByteMs, limits.helloMs),
    );
    const whole = setTimeout(() => finish({ kind: "slow_hello" }), limits.helloMs);
    const gone = (): void => finish({ kind: "client_gone" });
    const finish = (result: FirstBytes): void => {
      clearTimeout(firstByte);
      clearTimeout(whole);
      socket.off("data", onData).off("end", gone).off("close", gone);
      socket.pause();
      if (result.kind === "hello" && chunks.length > 0) socket.unshift(Buffer.concat(chunks));
      resolve(result);
    };
    const onData = (chunk: Buffer): void => {
      clearTimeout(firstByte);
      const isFirst = chunks.length === 0;
      chunks.push(chunk);
      const result = reader.push(chunk);
      if (result.kind === "hello") finish({ kind: "hello", hello: result.hello });
      else if (result.kind === "bad") finish({ kind: "bad_hello" });
      else if (result.kind === "not_tls") {
        const isHttp = isFirst && HTTP_METHOD_START.test(String.fromCharCode(chunk[0] ?? 0));
        finish(isHttp ? { kind: "plain_http" } : result);
      }
    };
    socket.on("data", onData).once("end", gone).once("close", gone).resume();
  });
}
