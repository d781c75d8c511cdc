import { Resolver } from "node:dns/promises";
import { whyOthersMayIssue } from "@dstack/acme/caa";
import { failed, group, notChecked, passed, skipped } from "@dstack/attestation";
import type { CheckNode } from "@dstack/attestation";
import { errorCode, errorMessage } from "@dstack/core";

/** Who may order certificates, by evidence that a quote vouches for. */
export interface AcmeAccount {
  readonly uri: string;
  /** The CA's names in CAA records. */
  readonly caa: readonly string[];
}

const QUERY_LIMIT_MS = 5000;

interface Found {
  readonly name: string;
  readonly records: readonly { tag: string; value: string }[];
}

/**
 * Asks DNS whether nobody but this account can get a certificate for a name.
 * @param servers `ip` or `ip:port` of resolvers to ask; the system's when empty
 */
export async function checkCaa(
  domain: string,
  account: AcmeAccount,
  servers: readonly string[],
): Promise<CheckNode> {
  const check = "CAA records";
  const dnssec = notChecked("DNSSEC", "CAA records are believed as the resolver gave them");
  const resolver = new Resolver({ timeout: QUERY_LIMIT_MS, tries: 2 });
  if (servers.length > 0) resolver.setServers(servers);
  try {
    const found = await relevantSet(domain, resolver);
    if (found === undefined) {
      const why = `there is none at ${domain} or above: any CA may issue a certificate for it to somebody else`;
      return group("DNS", [failed(check, "caa_missing", why)]);
    }
    const why = whyOthersMayIssue(found.records, account.caa, account.uri);
    if (why !== undefined) return group("DNS", [failed(check, "caa_mismatch", `at ${found.name}: ${why}`)]);
    return group("DNS", [
      passed(check, `${found.name} lets nobody issue but account ${account.uri}`),
      dnssec,
    ]);
  } catch (err) {
    return group("DNS", [skipped(check, `DNS gave no answer: ${errorMessage(err)}`)]);
  }
}

/** RFC 8659 §3: the records of the closest name that has any, from the domain upwards; the resolver follows aliases. */
async function relevantSet(domain: string, resolver: Resolver): Promise<Found | undefined> {
  const labels = domain.split(".");
  for (let i = 0; i < labels.length; i++) {
    const name = labels.slice(i).join(".");
    const records = await caaAt(name, resolver);
    if (records.length > 0) return { name, records };
  }
  return undefined;
}

async function caaAt(name: string, resolver: Resolver): Promise<Found["records"]> {
  try {
    return (await resolver.resolveCaa(name)).flatMap((record) =>
      Object.entries(record).flatMap(([tag, value]) =>
        tag === "critical" ? [] : [{ tag, value: String(value) }],
      ),
    );
  } catch (err) {
    if (errorCode(err) === "ENODATA" || errorCode(err) === "ENOTFOUND") return [];
    throw err;
  }
}
