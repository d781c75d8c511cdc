import { assertNever } from "@dstack/core";
import type { ServerName } from "./server-name.js";

/**
 * - `terminate`: we end TLS, the app gets plain TCP
 * - `http2`: the same, with ALPN `h2`
 * - `passthrough`: the app ends TLS
 */
export type RouteMode = "terminate" | "http2" | "passthrough";

export interface AppDestination {
  /** App id or instance id, 40 lower-case hex digits. */
  readonly id: string;
  readonly port: number;
  readonly mode: RouteMode;
}

export type Destination =
  | ({ readonly kind: "app" } & AppDestination)
  /** Under one of our base domains, but no name of the grammar. Never looked up in DNS. */
  | { readonly kind: "unknown" }
  /** Somebody's own domain: its TXT record says where to. */
  | { readonly kind: "custom"; readonly domain: ServerName };

const APP_LABEL = /^([0-9a-f]{40})(?:-([1-9][0-9]{0,4}))?([sg]?)$/;

/**
 * What a name asks for: `<id>[-<port>][s|g].<base domain>`, one label only.
 * @param baseDomains lower case, without dot at either end
 * @param passthroughOnly where nothing is terminated, every name means passthrough
 */
export function parseDestination(
  name: ServerName,
  baseDomains: readonly string[],
  passthroughOnly = false,
): Destination {
  const base = baseDomains.find((domain) => name === domain || name.endsWith(`.${domain}`));
  if (base === undefined) return { kind: "custom", domain: name };
  const match = APP_LABEL.exec(name.slice(0, -(base.length + 1)));
  if (match === null || name === base) return { kind: "unknown" };
  const [, id = "", portText, suffix] = match;
  const mode = passthroughOnly || suffix === "s" ? "passthrough" : suffix === "g" ? "http2" : "terminate";
  const port = portText === undefined ? defaultPort(mode) : Number(portText);
  return port > 65535 ? { kind: "unknown" } : { kind: "app", id, port, mode };
}

/** The port of a name that has none. */
export function defaultPort(mode: RouteMode): number {
  if (mode === "terminate" || mode === "http2") return 80;
  if (mode === "passthrough") return 443;
  return assertNever(mode);
}
