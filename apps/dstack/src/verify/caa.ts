import { Resolver } from "node:dns/promises";
import { Authority } from "@dstack/acme/authority";
import { whyOthersMayIssue } from "@dstack/acme/caa";
import { failed, group, notChecked, passed, skipped } from "@dstack/attestation";
import type { CheckNode } from "@dstack/attestation";

/** Who may order certificates, by evidence that a quote vouches for. */
export interface AcmeAccount {
  readonly uri: string;
  /** The CA's names in CAA records. */
  readonly caa: readonly string[];
}

const CHECK = "CAA records";
const ALIAS_LIMIT_MS = 5000;

/**
 * Asks DNS whether nobody but this account can get a certificate for a name.
 * @param servers `ip` or `ip:port` of servers to ask; when empty all that are authoritative for the name's zone
 */
export async function checkCaa(
  domain: string,
  account: AcmeAccount,
  servers: readonly string[],
  signal: AbortSignal,
): Promise<CheckNode> {
  return group("DNS", [
    await checkRecords(domain, account, servers, signal),
    ...(await tellAlias(domain, servers)),
    notChecked("DNSSEC", "records are believed as the servers gave them"),
  ]);
}

/** RFC 8659 §3: the records of the closest name that has any, from the domain upwards. */
async function checkRecords(
  domain: string,
  account: AcmeAccount,
  servers: readonly string[],
  signal: AbortSignal,
): Promise<CheckNode> {
  const authority = new Authority(servers.length === 0 ? {} : { servers });
  const labels = domain.split(".");
  for (const name of labels.map((_, i) => labels.slice(i).join("."))) {
    const answers = await authority.caa(name, signal);
    const sets = answers.flatMap((answer) => ("records" in answer ? [answer.records] : []));
    const silent = answers.find((answer) => "failure" in answer);
    if (silent !== undefined && "failure" in silent) {
      return skipped(CHECK, `DNS server ${silent.server} gave no answer for ${name}: ${silent.failure}`);
    }
    if (sets.every((set) => set.length === 0)) continue;
    if (sets.some((set) => set.length === 0)) {
      return failed(CHECK, "caa_mismatch", `some servers of ${name} show records and others none`);
    }
    const why = whyOthersMayIssue(sets.flat(), account.caa, account.uri);
    if (why !== undefined) return failed(CHECK, "caa_mismatch", `at ${name}: ${why}`);
    return passed(CHECK, `${name} lets nobody issue but account ${account.uri}`);
  }
  const why = `there is none at ${domain} or above: any CA may issue a certificate for it to somebody else`;
  return failed(CHECK, "caa_missing", why);
}

/** Records beside a CNAME are seen by whoever asks for them first; who has the CNAME already follows it. */
async function tellAlias(domain: string, servers: readonly string[]): Promise<CheckNode[]> {
  const resolver = new Resolver({ timeout: ALIAS_LIMIT_MS, tries: 1 });
  if (servers.length > 0) resolver.setServers(servers);
  const [target] = await resolver.resolveCname(domain).catch(() => []);
  if (target === undefined) return [];
  const why = `${domain} is an alias of ${target}: a CA that follows it goes by the records there, which were not checked`;
  return [notChecked("alias", why)];
}
