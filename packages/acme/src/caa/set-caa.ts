import type { Authority } from "../dns/authority.js";
import { type CaaRecord, type DnsProvider, recordText, sameRecord } from "../dns/provider.js";
import { waitUntilVisible } from "../dns/propagation.js";
import { DnsError } from "../errors.js";
import type { Log } from "../log.js";
import { suffixes } from "../names.js";
import { type CaaPermission, type CaaPlan, planCaa, wantedCaa } from "./policy.js";

export interface CaaParts {
  dns: DnsProvider;
  authority: Authority;
  maxDnsWaitMs: number;
  log: Log;
}

/** What {@link setCaa} would have to do at a name now. */
export async function readCaaPlan(
  dns: DnsProvider,
  name: string,
  permissions: readonly CaaPermission[],
  signal: AbortSignal,
): Promise<CaaPlan> {
  const existing = await dns.list("CAA", name, signal);
  const issuers = new Set(permissions.map(({ issuer }) => issuer));
  return planCaa(existing, wantedCaa(name, permissions), issuers);
}

/**
 * Makes CAA at a name let exactly our accounts issue, as far as our CAs go (rule C1), and waits until every
 * authoritative server says so. Records of others are kept, and told in the log.
 * @returns the records of others
 */
export async function setCaa(
  parts: CaaParts,
  name: string,
  permissions: readonly CaaPermission[],
  signal: AbortSignal,
): Promise<CaaRecord[]> {
  const { dns, log } = parts;
  const { steps, foreign } = await readCaaPlan(dns, name, permissions, signal);
  for (const record of foreign)
    log.warn({ record: recordText(record) }, "keeping a CAA record that is not ours");
  for (const { do: action, record, why } of steps) {
    log.debug(
      { record: recordText(record), why },
      action === "add" ? "adding CAA record" : "removing CAA record",
    );
    await dns[action](record, signal);
  }
  if (steps.length > 0) await waitForCaa(parts, name, wantedCaa(name, permissions), signal);
  return foreign;
}

/** Waits until every authoritative server shows these records, beside whatever others. */
export async function waitForCaa(
  parts: CaaParts,
  name: string,
  wanted: readonly CaaRecord[],
  signal: AbortSignal,
): Promise<void> {
  await waitUntilVisible(
    "CAA record",
    name,
    { limitMs: parts.maxDnsWaitMs, signal, log: parts.log },
    (wait) => parts.authority.caa(name, wait),
    (records) => wanted.every((record) => records.some((other) => sameRecord(other, record))),
  );
}

/**
 * The relevant record set of a name (RFC 8659 §3), read at the authoritative servers: the first non-empty one upwards, of
 * an alias the one where it leads.
 * @throws {DnsError} `unreachable` where no server of a zone answers: a CA would not issue either
 */
export async function relevantCaa(
  authority: Authority,
  name: string,
  signal: AbortSignal,
): Promise<CaaRecord[]> {
  for (const suffix of suffixes(name)) {
    for (const at of await authority.aliases(suffix, signal)) {
      const answers = await authority.caa(at, signal);
      const heard = answers.find((answer) => "records" in answer);
      if (heard === undefined || !("records" in heard)) {
        const reasons = answers.map((answer) => ("failure" in answer ? answer.failure : "")).join(", ");
        throw new DnsError(
          "unreachable",
          `no authoritative server tells the CAA records of ${at}: ${reasons}`,
        );
      }
      if (heard.records.length > 0) return heard.records;
    }
  }
  return [];
}
