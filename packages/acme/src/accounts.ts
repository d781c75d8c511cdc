import { AcmeCa, type CaOptions } from "./ca/certificate-authority.js";
import type { CaaPermission } from "./caa/policy.js";
import { CaError } from "./errors.js";
import type { Log } from "./log.js";
import type { CredentialsFile } from "./store/credentials.js";

/**
 * A CA with our account at it. An account is registered once; its key is on disk before the CA hears of it, and
 * registering the same key again gives the same account, so that no crash makes a second one.
 */
export async function openAccount(
  credentials: CredentialsFile,
  options: CaOptions,
  email: string | undefined,
  log: Log,
  signal: AbortSignal,
): Promise<AcmeCa> {
  const account = await credentials.getOrCreate(options.name, options.directory);
  const ca = new AcmeCa(options, account);
  if (account.uri !== undefined) return ca;
  log.info({ ca: options.name }, "creating new ACME account");
  const uri = await ca.register(email, signal);
  await credentials.save({ ...account, uri, caaNames: await ca.caaNames(signal) });
  log.info({ ca: options.name, account: uri }, `created new ACME account: ${uri}`);
  return ca;
}

/** At all CAs that answer: one that is down now only matters if no other one is left. */
export async function openAccounts(
  credentials: CredentialsFile,
  parts: { cas: readonly CaOptions[]; email?: string | undefined; log: Log },
  signal: AbortSignal,
): Promise<AcmeCa[]> {
  const opened: AcmeCa[] = [];
  const failures: CaError[] = [];
  for (const options of parts.cas) {
    try {
      opened.push(await openAccount(credentials, options, parts.email, parts.log, signal));
    } catch (err) {
      if (!(err instanceof CaError)) throw err;
      failures.push(err);
      parts.log.warn({ ca: options.name, reason: err.message }, "no account at this CA");
    }
  }
  if (opened.length === 0) throw failures[0] ?? new CaError("unavailable", "no CA is configured");
  return opened;
}

/** Who may issue, by what is on disk: no CA is asked. CAs without an account yet are left out. */
export function permissionsOf(credentials: CredentialsFile, cas: readonly CaOptions[]): CaaPermission[] {
  return cas.flatMap((options) => {
    const account = credentials.get(options.directory);
    if (account?.uri === undefined) return [];
    const { uri } = account;
    return (options.caaNames ?? account.caaNames ?? []).map((issuer) => ({
      issuer: issuer.toLowerCase(),
      accountUri: uri,
    }));
  });
}
