import { Resolver } from "node:dns/promises";
import type { ResolveTxt } from "@dstack/tls-proxy";

/** One question waits this long for its answer, and is asked twice. */
const DNS_TIMEOUT_MS = 2_000;

/** TXT questions to these servers, or to the system's. */
export function dnsResolver(servers: readonly string[]): ResolveTxt {
  const resolver = new Resolver({ timeout: DNS_TIMEOUT_MS, tries: 2 });
  if (servers.length > 0) resolver.setServers(servers);
  return (name) => resolver.resolveTxt(name);
}
