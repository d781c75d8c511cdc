import { hex, sha256, sha384, sha512, utf8 } from "@dstack/core";
import { bareLaunch } from "../../../tdx-attest/src/simulated/launch.js";
import { SimulatedPlatform } from "../../../tdx-attest/src/simulated/platform.js";
import type { SimulatedPlatformOptions } from "../../../tdx-attest/src/simulated/platform.js";
import type { QuoteOptions } from "../../../tdx-attest/src/simulated/quote-writer.js";
import type { SimulatedTd } from "../../../tdx-attest/src/simulated/td-report.js";
import { replayEventLog, runtimeEvent, verifyEvidence, verifyQuote } from "../../src/index.js";
import type {
  Collateral,
  EventLogEntry,
  TrustAnchor,
  VerifiedEvidence,
  VerifiedQuote,
} from "../../src/index.js";

/** 2026-03-01T12:00:00Z. */
export const NOW = 1_772_366_400;
export const SEED = sha256("attestation tests");
export const REPORT_DATA = sha512("attestation tests");

export const COMPOSE_HASH = sha256("compose");
const APP_ID = COMPOSE_HASH.subarray(0, 20);
const EMPTY = new Uint8Array();

/** The RTMR3 events of a boot up to where keys may be asked for. */
export const BOOT_EVENTS: readonly EventLogEntry[] = [
  runtimeEvent("system-preparing", EMPTY),
  runtimeEvent("rootfs-hash", sha256("rootfs")),
  runtimeEvent("app-id", APP_ID),
  runtimeEvent("compose-hash", COMPOSE_HASH),
  runtimeEvent("upgraded-app-id", APP_ID),
  runtimeEvent("ca-cert-hash", sha256("kms ca")),
  runtimeEvent("instance-id", sha256("instance").subarray(0, 20)),
  runtimeEvent("boot-mr-done", EMPTY),
];
export const KEY_PROVIDER = runtimeEvent("key-provider", utf8('{"name":"kms","id":"00"}'));
export const SYSTEM_READY = runtimeEvent("system-ready", EMPTY);

const launch = bareLaunch();
export const LAUNCH = launch;

export interface Case {
  readonly quote: Uint8Array;
  readonly collateral: Collateral;
  readonly now: number;
  readonly anchors: readonly TrustAnchor[];
}

/** What a test changes in a good quote of a good platform. */
export interface CaseOptions {
  readonly platform?: SimulatedPlatformOptions;
  readonly td?: Partial<SimulatedTd>;
  readonly quote?: QuoteOptions;
  /** The RTMR3 part of the log. */
  readonly events?: readonly EventLogEntry[];
}

/** The whole log of a guest with these RTMR3 events. */
export function logOf(events: readonly EventLogEntry[] = BOOT_EVENTS): EventLogEntry[] {
  return [...launch.events, ...events];
}

/** A simulated quote with its collateral, trusted unless a test changes the anchors. */
export function makeCase(options: CaseOptions = {}): Case {
  const platform = SimulatedPlatform.fromSeed(SEED, options.platform);
  const td = {
    mrTd: Uint8Array.from(Buffer.from(launch.mrtd, "hex")),
    rtmr: replayEventLog(logOf(options.events)),
    ...options.td,
  };
  return {
    quote: platform.quote(td, REPORT_DATA, options.quote),
    collateral: platform.collateral(NOW),
    now: NOW,
    anchors: [{ kind: "simulated", sha256: platform.rootSha256 }],
  };
}

export function verifyCase(options: CaseOptions = {}): VerifiedQuote {
  return verifyQuote(makeCase(options));
}

export function evidenceOf(options: CaseOptions = {}): VerifiedEvidence {
  return verifyEvidence({
    ...makeCase(options),
    eventLog: JSON.stringify(logOf(options.events)),
    reportData: REPORT_DATA,
  });
}

/** The code of what was thrown, for `toBe`. */
export function codeOf(run: () => unknown): string {
  try {
    run();
  } catch (err) {
    if (err instanceof Error && "code" in err && "rpcCode" in err) return String(err.code);
    throw err;
  }
  return "accepted";
}

export const register = (text: string): string => hex(sha384(text));
