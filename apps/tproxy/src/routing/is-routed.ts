import { backendsOn, parseDestination } from "@dstack/tls-proxy";
import type { CustomDomains, RouteTable, ServerName } from "@dstack/tls-proxy";

/**
 * Whether the data plane would route this name.
 * @param source the address of who wants to know: it may cause only so many questions to DNS (P2)
 */
export async function isRouted(
  name: ServerName,
  source: string,
  routes: RouteTable,
  domains: Pick<CustomDomains, "lookup">,
): Promise<boolean> {
  const parsed = parseDestination(name, routes.baseDomains);
  if (parsed.kind === "unknown") return false;
  const found = parsed.kind === "app" ? parsed : await domains.lookup(parsed.domain, source);
  return found !== undefined && (backendsOn(routes, found.id, found.port) ?? []).length > 0;
}
