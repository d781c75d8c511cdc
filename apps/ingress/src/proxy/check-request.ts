import { InputError } from "@dstack/core";
import type { Exchange } from "./exchange.js";

/** Methods that make a proxy a tunnel or a mirror. */
const REFUSED_METHODS = new Set(["CONNECT", "TRACE", "TRACK"]);

/**
 * The host that a request is for, in lower case without its port.
 * @throws {InputError} a request that the two ends could read differently, or one that a proxy must not pass on
 */
export function requestedHost(exchange: Exchange): string {
  const { method, authority, target, headers } = exchange;
  if (REFUSED_METHODS.has(method)) throw new InputError(`method ${method} is not served`);
  if (target !== "*" && !target.startsWith("/")) throw new InputError("the request target must be a path");
  // What is no visible ASCII ends up in a request line that others read by other rules.
  if (!/^[\x21-\x7e]*$/.test(target))
    throw new InputError("the request target has characters it must not have");
  if (headers.host !== undefined && headers.host.toLowerCase() !== authority.toLowerCase()) {
    throw new InputError(":authority and Host differ");
  }
  const host = /^([a-z0-9._-]+)(?::\d{1,5})?$/.exec(authority.toLowerCase())?.[1];
  if (host === undefined) throw new InputError("the request names no host");
  return host.replace(/\.$/, "");
}
