import type { Socket } from "node:net";
import { parseProxyHeader } from "../proxy-header.js";
import type { ProxyAddresses } from "../proxy-header.js";

export type BalancerSays =
  | { readonly kind: "whole"; readonly addresses: ProxyAddresses | undefined }
  | { readonly kind: "bad_proxy_header" | "slow_hello" | "client_gone" };

/** Waits for the header of a balancer and puts back what follows it. The socket is paused afterwards. */
export function readProxyHeader(socket: Socket, limitMs: number): Promise<BalancerSays> {
  return new Promise((resolve) => {
    let bytes: Buffer = Buffer.alloc(0);
    const timer = setTimeout(() => finish({ kind: "slow_hello" }), limitMs);
    const gone = (): void => finish({ kind: "client_gone" });
    const finish = (result: BalancerSays): void => {
      clearTimeout(timer);
      socket.off("data", onData).off("end", gone).off("close", gone);
      socket.pause();
      resolve(result);
    };
    const onData = (chunk: Buffer): void => {
      bytes = Buffer.concat([bytes, chunk]);
      const result = parseProxyHeader(bytes);
      if (result.kind === "more") return;
      if (result.kind === "bad") return finish({ kind: "bad_proxy_header" });
      finish({ kind: "whole", addresses: result.addresses });
      if (bytes.length > result.length) socket.unshift(bytes.subarray(result.length));
    };
    socket.on("data", onData).once("end", gone).once("close", gone);
  });
}
