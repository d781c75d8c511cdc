import { TimeoutError, errorCode, errorMessage, withDeadline } from "@dstack/core";
import { RpcError } from "@dstack/prpc";
import type { Transport } from "@dstack/prpc";
import { CliError } from "./output.js";

/** A daemon that is called, in words. */
export interface CalledDaemon {
  readonly kind: "teepod" | "tproxy";
  /** As the person who called it gave it. */
  readonly address: string;
  readonly limitMs: number;
  /** Continues "no teepod answers at … (ECONNREFUSED)". */
  readonly whenUnreachable: string;
  /** What to do when it wants a token: "give --token". */
  readonly whenUnauthenticated: string;
}

/** Calls with a limit; what keeps the daemon from being reached is told in a sentence. */
export function toldTransport(inner: Transport, daemon: CalledDaemon): Transport {
  return {
    async call(service, method, body, options) {
      const { signal } = options;
      try {
        return await withDeadline(
          method,
          daemon.limitMs,
          (limit) => inner.call(service, method, body, { ...options, signal: limit }),
          signal,
        );
      } catch (err) {
        signal?.throwIfAborted();
        throw told(err, daemon);
      }
    },
  };
}

function told(err: unknown, daemon: CalledDaemon): unknown {
  const { kind, address, limitMs } = daemon;
  const options = { cause: err };
  if (err instanceof TimeoutError)
    return new CliError(`the ${kind} at ${address} has not answered within ${limitMs / 1000} s`, 1, options);
  if (!(err instanceof RpcError)) return err;
  if (err.code === "unavailable" && err.cause !== undefined) {
    const reason = errorCode(err.cause) ?? errorMessage(err.cause);
    return new CliError(`no ${kind} answers at ${address} (${reason})${daemon.whenUnreachable}`, 1, options);
  }
  if (err.code === "unauthenticated")
    return new CliError(`${err.message}; ${daemon.whenUnauthenticated}`, 1, options);
  return err;
}
