import { errorMessage } from "@dstack/core";
import type { AcmeCa } from "./ca/certificate-authority.js";
import type { RenewalWindow } from "./ca/renewal-info.js";
import type { Log } from "./log.js";
import { type RenewalDecision, isDueForRenewal } from "./renewal.js";
import { readState, updateState } from "./store/state.js";
import type { LiveCertificate, WorkDirectory } from "./store/work-directory.js";

export interface DecisionParts {
  renewBeforeMs: number;
  dir: Pick<WorkDirectory, "statePath">;
  log: Log;
  /** ms */
  now: () => number;
}

/** Whether the live certificate is due, by its dates and by what these CAs want, or by what they last wanted. */
export async function decideRenewal(
  parts: DecisionParts,
  live: LiveCertificate,
  cas: readonly AcmeCa[],
  signal: AbortSignal,
): Promise<RenewalDecision> {
  const window = await askRenewalInfo(parts, live, cas, signal);
  return isDueForRenewal({
    now: parts.now(),
    notBefore: live.notBefore.getTime(),
    notAfter: live.notAfter.getTime(),
    renewBeforeMs: parts.renewBeforeMs,
    seed: live.chainPem,
    window,
  });
}

/** The CA's wish as it was last heard; asked anew when it said so. Of several CAs, the one that knows the certificate. */
async function askRenewalInfo(
  { dir, log, now }: DecisionParts,
  live: LiveCertificate,
  cas: readonly AcmeCa[],
  signal: AbortSignal,
): Promise<Pick<RenewalWindow, "start" | "end"> | undefined> {
  const state = await readState(dir.statePath);
  const known = state.renewalInfo?.id === live.id ? state.renewalInfo : undefined;
  const asked = known && { start: new Date(known.start), end: new Date(known.end) };
  if (known?.askAgainAt !== undefined && Date.parse(known.askAgainAt) > now()) return asked;
  for (const ca of cas) {
    const window = await ca.renewalInfo(live.chainPem, signal).catch((err: unknown) => {
      signal.throwIfAborted();
      log.debug({ ca: ca.name, reason: errorMessage(err) }, "no renewal information");
      return undefined;
    });
    if (window === undefined) continue;
    const renewalInfo = {
      id: live.id,
      start: window.start.toISOString(),
      end: window.end.toISOString(),
      ...(window.askAgainAt === undefined ? {} : { askAgainAt: window.askAgainAt.toISOString() }),
    };
    await updateState(dir.statePath, (current) => ({ ...current, renewalInfo }));
    return window;
  }
  return asked;
}
