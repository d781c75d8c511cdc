import type { AcmeCa } from "./ca/certificate-authority.js";
import { ariCertId } from "./ca/renewal-info.js";
import { CaError, CertificateError } from "./errors.js";
import { type ObtainParts, obtainCertificate } from "./obtain.js";
import type { DecisionParts } from "./renewal-decision.js";
import { readState, updateState } from "./store/state.js";
import type { LiveCertificate, WorkDirectory } from "./store/work-directory.js";

export interface FailoverParts extends Omit<ObtainParts, "ca" | "pendingPath">, DecisionParts {
  names: readonly string[];
  dir: WorkDirectory;
}

/** A CA that limits our rate without saying for how long is left alone for this long. */
const DEFAULT_PAUSE_MS = 3600_000;

/** A clock further off than this is named beside whatever failed: it often is why. */
const MAX_CLOCK_ERROR_MS = 300_000;

/**
 * A certificate from the first CA that gives one, installed. Trouble that is not the CA's ends the attempt: it would
 * meet the next one too.
 * @throws {CaError} `unavailable`: none gave one; the message has each one's reason
 */
export async function obtainFromFirst(
  parts: FailoverParts,
  cas: readonly AcmeCa[],
  previous: LiveCertificate | undefined,
  signal: AbortSignal,
): Promise<LiveCertificate> {
  const { dir, log, names, now } = parts;
  const failures: string[] = [];
  for (const ca of cas) {
    const pausedUntil = (await readState(dir.statePath)).pauses[ca.name];
    if (pausedUntil !== undefined && Date.parse(pausedUntil) > now()) {
      failures.push(`CA ${ca.name} must not be asked before ${pausedUntil}`);
      continue;
    }
    try {
      await obtainCertificate(
        { ...parts, ca, pendingPath: dir.pendingPath(ca.name) },
        { names, replaces: previous === undefined ? undefined : ariCertId(previous.chainPem) },
        async (chainPem, keyPem) => {
          const id = await dir.install(chainPem, keyPem, now());
          log.info({ id, ca: ca.name }, "stored new certificate");
        },
        signal,
      );
      const live = await dir.live();
      if (live === undefined) throw new Error("the certificate just installed is not there");
      return live;
    } catch (err) {
      signal.throwIfAborted();
      if (!(err instanceof CaError || err instanceof CertificateError)) throw err;
      failures.push(err.message);
      log.warn({ ca: ca.name, reason: err.message }, "no certificate from this CA");
      if (err.code === "rate_limited") await pause(parts, ca.name, err);
    }
    if (Math.abs(ca.clockAheadMs) > MAX_CLOCK_ERROR_MS) failures.push(clockSentence(ca.clockAheadMs));
  }
  throw new CaError("unavailable", failures.join(". "));
}

async function pause({ dir, now }: FailoverParts, ca: string, err: Error): Promise<void> {
  const until = (err instanceof CaError ? err.retryAt : undefined) ?? new Date(now() + DEFAULT_PAUSE_MS);
  await updateState(dir.statePath, (state) => ({
    ...state,
    pauses: { ...state.pauses, [ca]: until.toISOString() },
  }));
}

function clockSentence(aheadMs: number): string {
  const minutes = Math.round(Math.abs(aheadMs) / 60_000);
  return `this machine's clock is ${minutes} min ${aheadMs > 0 ? "ahead of" : "behind"} the CA's: set it`;
}
