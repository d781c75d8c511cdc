import type { IncomingHttpHeaders, OutgoingHttpHeaders } from "node:http";

/** Of one connection only (RFC 9110 §7.6.1), with what old programs take for such, and `Expect`, which we answer. */
const HOP_BY_HOP = new Set([
  "connection",
  "proxy-connection",
  "proxy-authenticate",
  "proxy-authorization",
  "keep-alive",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "http2-settings",
  "expect",
]);

/** Said by us alone: what a client writes there could be taken for ours. */
const OURS = new Set(["forwarded", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip"]);

/** CGI and what came after it take `X_Real_IP` for `X-Real-IP`: whoever writes one means the other. */
const dashed = (name: string): string => name.replaceAll("_", "-");

/** Headers that are for the other end: not of this connection, and not named as such by `Connection`. */
export function endToEnd(headers: IncomingHttpHeaders): OutgoingHttpHeaders {
  const named = new Set(
    String(headers.connection ?? "")
      .split(",")
      .map((name) => name.trim().toLowerCase()),
  );
  return Object.fromEntries(
    Object.entries(headers).filter(
      ([name, value]) =>
        value !== undefined && !name.startsWith(":") && !HOP_BY_HOP.has(dashed(name)) && !named.has(name),
    ),
  );
}

/** What a target is told beside the client's own headers: under which name, and by whom, it was asked. */
export function forwardedHeaders(
  headers: IncomingHttpHeaders,
  client: { readonly authority: string; readonly address: string },
): OutgoingHttpHeaders {
  const kept = Object.entries(endToEnd(headers)).filter(([name]) => !OURS.has(dashed(name)));
  return {
    ...Object.fromEntries(kept),
    "x-forwarded-for": client.address,
    "x-forwarded-host": client.authority,
    "x-forwarded-proto": "https",
    "x-real-ip": client.address,
  };
}
