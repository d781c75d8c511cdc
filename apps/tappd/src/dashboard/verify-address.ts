/** `<id>[-<port>].<base domain>[:<port>]`, as tproxy routes names (wire.md, "Names"). */
const ROUTED = /^[0-9a-f]{40}(?:-\d{1,5})?s?\.([a-z0-9.-]{1,200}(?::\d{1,5})?)$/i;

/**
 * Where this guest agent presents its RA-TLS certificate itself, past the proxy that ends TLS for this page.
 * @param host the Host header, which whoever asks has chosen
 */
export function attestedAddress(host: string, appId: string, tlsPort: number): string {
  const base = ROUTED.exec(host)?.[1] ?? "<base domain>";
  return `https://${appId}-${tlsPort}s.${base}/`;
}
