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
  const { records, at } = await checkRecords(domain, account, servers, signal);
  return group("DNS", [
    records,
    ...(await tellAlias(at, servers)),
    notChecked("DNSSEC", "records are believed as the servers gave them"),
  ]);
}

/**
 * RFC 8659 §3: the records of the closest name that has any, from the domain upwards; an alias has those where it leads.
 * @returns at which name they stand, too
 */
async function checkRecords(
  domain: string,
  account: AcmeAccount,
  servers: readonly string[],
  signal: AbortSignal,
): Promise<{ records: CheckNode; at: string }> {
  const authority = new Authority(servers.length === 0 ? {} : { servers });
  const labels = domain.split(".");
  for (const name of labels.map((_, i) => labels.slice(i).join("."))) {
    for (const at of await namesOf(authority, name, signal)) {
      const answers = await authority.caa(at, signal);
      const sets = answers.flatMap((answer) => ("records" in answer ? [answer.records] : []));
      const silent = answers.find((answer) => "failure" in answer);
      if (silent !== undefined && "failure" in silent) {
        const why = `DNS server ${silent.server} gave no answer for ${at}: ${silent.failure}`;
        return { records: skipped(CHECK, why), at };
      }
      if (sets.every((set) => set.length === 0)) continue;
      if (sets.some((set) => set.length === 0)) {
        const why = `some servers of ${at} show records and others none`;
        return { records: failed(CHECK, "caa_mismatch", why), at };
      }
      const why = whyOthersMayIssue(sets.flat(), account.caa, account.uri);
      const records =
        why === undefined
          ? passed(CHECK, `${at} lets nobody issue but account ${account.uri}`)
          : failed(CHECK, "caa_mismatch", `at ${at}: ${why}`);
      return { records, at };
    }
  }
  const why = `there is none at ${domain} or above: any CA may issue a certificate for it to somebody else`;
  return { records: failed(CHECK, "caa_missing", why), at: domain };
}

/** A name with where it leads. Who cannot say that is asked for CAA records next, and then for a reason. */
async function namesOf(authority: Authority, name: string, signal: AbortSignal): Promise<readonly string[]> {
  return authority.aliases(name, signal).catch(() => {
    signal.throwIfAborted();
    return [name];
  });
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
