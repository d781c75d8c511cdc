import { createHash } from "node:crypto";
import type { RenewalWindow } from "./ca/renewal-info.js";

export interface RenewalQuestion {
  now: number;
  notBefore: number;
  notAfter: number;
  /** Renew when less than this is left, ms. */
  renewBeforeMs: number;
  /** The CA's wish, where it has one. */
  window?: Pick<RenewalWindow, "start" | "end"> | undefined;
  /** Something that stays the same for one certificate: spreads many clients over the window, each at a fixed time. */
  seed: string;
}

export interface RenewalDecision {
  due: boolean;
  /** When it is, or was, due, ms. */
  at: number;
  /** From then on it must not wait for anybody, ms: of the time between due by its dates and expired, a third is left. */
  latest: number;
  because: "expired" | "expires soon" | "the CA asks for it" | "not yet";
}

/**
 * Whether a certificate must be renewed now. The CA's window can only move that forward, so that a lying CA cannot
 * make us keep a certificate until it is dead. Of certificates that live shorter than three times `renewBeforeMs`
 * the last third is used instead: else they would be renewed as soon as they are made.
 */
export function isDueForRenewal(question: RenewalQuestion): RenewalDecision {
  const { now, notBefore, notAfter, window } = question;
  const before = Math.min(question.renewBeforeMs, (notAfter - notBefore) / 3);
  const ownTime = notAfter - before;
  const caTime = window === undefined ? Infinity : timeInWindow(window, question.seed);
  const at = Math.min(ownTime, caTime);
  const latest = notAfter - before / 3;
  if (now >= notAfter) return { due: true, at, latest, because: "expired" };
  if (now >= ownTime) return { due: true, at, latest, because: "expires soon" };
  if (now >= caTime) return { due: true, at, latest, because: "the CA asks for it" };
  return { due: false, at, latest, because: "not yet" };
}

/** RFC 9773 §4.2 asks for a uniform random time in the window; ours is fixed by the seed and thus survives restarts. */
function timeInWindow(window: Pick<RenewalWindow, "start" | "end">, seed: string): number {
  const fraction = createHash("sha256").update(seed).digest().readUInt32BE() / 2 ** 32;
  return window.start.getTime() + fraction * (window.end.getTime() - window.start.getTime());
}
