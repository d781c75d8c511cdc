import type { Cloudflare, Log } from "@dstack/acme";
import type { Settings } from "../settings/settings.js";
import type { PlaceOf } from "./places.js";

/**
 * Makes each domain an alias of the gateway, and tells the gateway by a TXT record which app and port it leads to.
 * Records at the TXT name that say something else go: two of them would send requests to either.
 * @throws {DnsError}
 */
export async function setDnsRecords(
  parts: { readonly cloudflare: Cloudflare; readonly placeOf: PlaceOf; readonly log: Log },
  settings: Pick<Settings, "routes" | "gatewayDomain" | "port" | "txtPrefix">,
  appId: string,
  signal: AbortSignal,
): Promise<void> {
  const { cloudflare, placeOf, log } = parts;
  const text = `${appId}:${settings.port}`;
  for (const domain of settings.routes.keys()) {
    const alias = await placeOf(domain, signal);
    if (await cloudflare.setAlias(alias, settings.gatewayDomain, signal)) {
      log.info({ domain: alias, target: settings.gatewayDomain }, "set CNAME record");
    }
    const name = await placeOf(addressName(settings.txtPrefix, domain), signal);
    const there = await cloudflare.list("TXT", name, signal);
    if (!there.some((record) => record.text === text)) {
      await cloudflare.add({ type: "TXT", name, text }, signal);
      log.info({ name, text }, "set TXT record");
    }
    for (const record of there) {
      if (record.text === text) continue;
      await cloudflare.remove(record, signal);
      log.info({ name, text: record.text }, "removed another TXT record");
    }
  }
}

/** Where gateways look for a domain's app: a wildcard's record stands at the name above, under a prefix of its own. */
function addressName(prefix: string, domain: string): string {
  return domain.startsWith("*.") ? `${prefix}-wildcard.${domain.slice(2)}` : `${prefix}.${domain}`;
}
