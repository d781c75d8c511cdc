import { errorMessage } from "@dstack/core";
import { openAccount, permissionsOf } from "./accounts.js";
import type { CaOptions } from "./ca/certificate-authority.js";
import { type CaaPermission, whyCaaForbids, wantedCaa } from "./caa/policy.js";
import { relevantCaa, waitForCaa } from "./caa/set-caa.js";
import type { Authority } from "./dns/authority.js";
import type { CaaRecord, DnsProvider } from "./dns/provider.js";
import type { Log } from "./log.js";
import { recordName } from "./names.js";
import { obtainCertificate } from "./obtain.js";
import type { CredentialsFile } from "./store/credentials.js";
import type { WorkDirectory } from "./store/work-directory.js";

/** How a renewal from one CA would go. */
export interface Rehearsal {
  ca: string;
  /** Whether its staging CA gave a certificate; undefined where it has none. */
  ordered?: boolean;
  /** Sentences; none: renewal would work. */
  problems: string[];
}

interface RehearsalParts {
  names: readonly string[];
  cas: readonly (CaOptions & { staging?: CaOptions | undefined })[];
  email?: string | undefined;
  dns: DnsProvider;
  authority: Authority;
  maxDnsWaitMs: number;
  setCaa: boolean;
  log: Log;
  credentials: CredentialsFile;
  dir: WorkDirectory;
}

/**
 * Tries what a renewal needs without using the production CAs' limits (rule C4): would CAA as published let our
 * production account order? Then an order from the staging CA, under those very records and one more of the same form
 * that names the staging account; a record that names an account of staging lets nobody order from production.
 */
export async function rehearse(parts: RehearsalParts, signal: AbortSignal): Promise<Rehearsal[]> {
  const results: Rehearsal[] = [];
  for (const options of parts.cas) {
    const problems = await caaProblems(parts, permissionsOf(parts.credentials, [options]), signal);
    if (permissionsOf(parts.credentials, [options]).length === 0) {
      problems.push(`there is no account at CA ${options.name} yet: run "certbot init"`);
    }
    const result: Rehearsal = { ca: options.name, problems };
    if (options.staging !== undefined) {
      const failure = await orderFromStaging(parts, options.staging, signal).then(
        () => undefined,
        (err: unknown) => {
          signal.throwIfAborted();
          return `a staging order fails: ${errorMessage(err)}`;
        },
      );
      result.ordered = failure === undefined;
      if (failure !== undefined) problems.push(failure);
    }
    results.push(result);
  }
  return results;
}

/** Why CAA, as authoritative servers show it, would stop these accounts; one sentence a name. */
export async function caaProblems(
  parts: Pick<RehearsalParts, "names" | "authority">,
  permissions: readonly CaaPermission[],
  signal: AbortSignal,
): Promise<string[]> {
  const problems: string[] = [];
  for (const domain of parts.names) {
    let set: CaaRecord[];
    try {
      set = await relevantCaa(parts.authority, recordName(domain), signal);
    } catch (err) {
      signal.throwIfAborted();
      problems.push(errorMessage(err));
      continue;
    }
    // A CA with several names may issue when one of them is allowed.
    const reasons = permissions.map((one) => whyCaaForbids(set, one, domain.startsWith("*.")));
    if (reasons.length > 0 && !reasons.includes(undefined)) {
      problems.push(`CAA stops an order for ${domain}: ${[...new Set(reasons)].join("; ")}`);
    }
  }
  return [...new Set(problems)];
}

async function orderFromStaging(
  parts: RehearsalParts,
  staging: CaOptions,
  signal: AbortSignal,
): Promise<void> {
  const { credentials, dns, log, names } = parts;
  const ca = await openAccount(credentials, staging, parts.email, log, signal);
  const added = parts.setCaa
    ? [...new Set(names.map(recordName))].flatMap((name) =>
        wantedCaa(name, permissionsOf(credentials, [staging])),
      )
    : [];
  try {
    for (const record of added) await dns.add(record, signal);
    for (const record of added) await waitForCaa(parts, record.name, [record], signal);
    const pendingPath = parts.dir.pendingPath(`${staging.name}.rehearsal`);
    await obtainCertificate({ ...parts, ca, pendingPath }, { names }, () => Promise.resolve(), signal);
  } finally {
    // One that stays behind is a stale record of our CA: the next set-caa removes it.
    for (const record of added) {
      await dns.remove(record, signal).catch((err: unknown) => {
        log.warn({ reason: errorMessage(err) }, "could not remove the CAA record of the rehearsal");
      });
    }
  }
}
