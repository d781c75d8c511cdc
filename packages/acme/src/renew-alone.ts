import { openAccounts } from "./accounts.js";
import type { CaOptions } from "./ca/certificate-authority.js";
import { ClusterError } from "./errors.js";
import { type FailoverParts, obtainFromFirst } from "./failover.js";
import { decideRenewal } from "./renewal-decision.js";
import type { CredentialsFile } from "./store/credentials.js";
import type { LiveCertificate } from "./store/work-directory.js";

export interface AloneParts extends FailoverParts {
  cas: readonly CaOptions[];
  email?: string | undefined;
}

/**
 * What becomes of a certificate that the rest of the cluster holds up: it stays while it lasts, and is renewed when it
 * is about to end. What the nodes share is left as it is, CAA records and accounts; an order of its own harms nobody,
 * even beside one of theirs.
 * @param question.reason what holds us up
 * @returns the certificate that is live then
 * @throws {ClusterError} the reason, where something has to be done and there is time
 */
export async function renewAlone(
  parts: AloneParts,
  question: { reason: ClusterError; force: boolean; live: LiveCertificate; credentials: CredentialsFile },
  signal: AbortSignal,
): Promise<LiveCertificate> {
  const { cas, log, now } = parts;
  const { reason, force, live, credentials } = question;
  const { due, latest } = await decideRenewal(parts, live, [], signal);
  const lasts = { until: live.notAfter.toISOString(), alone: new Date(latest).toISOString() };
  if (now() < latest) {
    if (force || due || reason.code === "another_account") {
      const wait = `The certificate lasts until ${lasts.until}; from ${lasts.alone} on it is renewed all the same`;
      throw new ClusterError(reason.code, `${reason.message}. ${wait}`, {}, { cause: reason });
    }
    log.warn(
      { reason: reason.message, ...lasts },
      "certificate is up to date; the other nodes were not asked",
    );
    return live;
  }
  const known = cas.filter(({ directory }) => credentials.get(directory)?.uri !== undefined);
  if (known.length === 0) throw reason;
  log.warn({ reason: reason.message, ...lasts }, "renewing without the other nodes: it must not wait longer");
  const opened = await openAccounts(credentials, { ...parts, cas: known }, signal);
  return obtainFromFirst(parts, opened, live, signal);
}
