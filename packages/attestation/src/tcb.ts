import { hex } from "@dstack/core";
import { QuoteError } from "./errors.js";
import type { PckPlatform } from "./pck-extension.js";
import type { EnclaveLevel, PlatformLevel, TcbInfo, TcbStatus } from "./tcb-documents.js";
import type { TdReportBody } from "./td-report.js";

/** The level something reached, and since when there is a better one. */
export interface ReachedLevel<Status extends TcbStatus = TcbStatus> {
  readonly status: Status;
  readonly advisories: readonly string[];
  /** Unix seconds: it holds what was published up to then. */
  readonly date: number;
  /** Unix seconds: the date of the first level above it. */
  readonly outdatedSince: number | undefined;
}
type EnclaveStatus = EnclaveLevel["tcbStatus"];

/**
 * The level of the platform: the first, in Intel's order, whose SVNs the processor and the TDX module all reach.
 * For modules of version 1 and above the first two TDX components are the module's, judged by its own identity.
 * @throws {QuoteError} `platform_mismatch`, `tcb_unsupported`
 */
export function platformLevel(info: TcbInfo, platform: PckPlatform, body: TdReportBody): ReachedLevel {
  const { fmspc, pceId } = platform;
  if (info.fmspc !== fmspc || info.pceId !== pceId) {
    throw new QuoteError("platform_mismatch", "the TCB info was published for another kind of platform", {
      platform: { fmspc, pceId },
      tcbInfo: { fmspc: info.fmspc, pceId: info.pceId },
    });
  }
  const firstTdxComponent = moduleVersion(body) > 0 ? 2 : 0;
  const reached = ({ tcb }: PlatformLevel): boolean =>
    tcb.sgxtcbcomponents.every(({ svn }, i) => svn <= (platform.components[i] ?? -1)) &&
    tcb.pcesvn <= platform.pceSvn &&
    tcb.tdxtcbcomponents.every(({ svn }, i) => i < firstTdxComponent || svn <= (body.teeTcbSvn[i] ?? -1));
  return firstReached(info.tcbLevels, reached, "platform");
}

/**
 * The level of the TDX module, by the identity Intel published for its version.
 * @returns undefined for version 0, which has no levels of its own
 * @throws {QuoteError} `module_mismatch`, `tcb_unsupported`
 */
export function moduleLevel(info: TcbInfo, body: TdReportBody): ReachedLevel<EnclaveStatus> | undefined {
  requireNotReplacedByOlder(body);
  const version = moduleVersion(body);
  const id = `TDX_${hex(Uint8Array.of(version))}`;
  const identities = info.tdxModuleIdentities.filter(
    (candidate) => candidate.id.toLowerCase() === id.toLowerCase(),
  );
  const [identity] = identities;
  if (version > 0 && (identity === undefined || identities.length > 1)) {
    throw new QuoteError("module_mismatch", `the TCB info does not know the TDX module ${id}`);
  }
  const { mrsigner, attributes, attributesMask } = (version > 0 ? identity : undefined) ?? info.tdxModule;
  if (hex(body.mrSignerSeam) !== mrsigner.toLowerCase()) {
    throw new QuoteError("module_mismatch", "the TDX module was signed by somebody else (MRSIGNERSEAM)");
  }
  // Intel defines no attribute a released module may have set.
  if (
    !isMasked(body.seamAttributes, attributes, attributesMask) ||
    body.seamAttributes.some((byte) => byte !== 0)
  ) {
    throw new QuoteError(
      "module_mismatch",
      "the TDX module has attributes it must not have (SEAMATTRIBUTES)",
    );
  }
  if (version === 0 || identity === undefined) return undefined;
  return enclaveLevel(identity.tcbLevels, body.teeTcbSvn[0] ?? -1, "TDX module");
}

/**
 * Under a TD of TDX 1.5 the module can be replaced while the TD runs. All levels are those of the module it was launched
 * on, so the one that runs now must be as new: of a later version, or of the same with no smaller SVN.
 */
function requireNotReplacedByOlder({ teeTcbSvn, teeTcbSvn2 }: TdReportBody): void {
  if (teeTcbSvn2 === undefined) return;
  const [, launched = 0] = teeTcbSvn;
  const [, running = 0] = teeTcbSvn2;
  // Each version counts its SVNs anew.
  const first = running > launched ? 1 : 0;
  if (teeTcbSvn2.every((svn, i) => i < first || svn >= (teeTcbSvn[i] ?? 0))) return;
  throw new QuoteError(
    "module_mismatch",
    "the TDX module that runs now is older than the one the TD was launched on (TEE_TCB_SVN_2)",
  );
}

/** The first level whose SVN is reached. */
export function enclaveLevel(
  levels: readonly EnclaveLevel[],
  isvSvn: number,
  what: string,
): ReachedLevel<EnclaveStatus> {
  return firstReached(levels, ({ tcb }) => tcb.isvsvn <= isvSvn, what);
}

/** Whether a value has the expected bits where the mask says so; all three little-endian, two of them hex. */
export function isMasked(value: Uint8Array, expected: string, mask: string): boolean {
  const bits = (text: string): Buffer => Buffer.from(text, "hex");
  const want = bits(expected);
  return bits(mask).every((byte, i) => (((value[i] ?? 0) ^ (want[i] ?? 0)) & byte) === 0);
}

/**
 * The status of the whole: a platform is no better than its quoting enclave and its TDX module (as Intel's library
 * converges them). A revoked part revokes the whole, and no policy may want that.
 * @throws {QuoteError} `tcb_revoked`
 */
export function convergeStatus(
  platform: TcbStatus,
  parts: readonly EnclaveStatus[],
): Exclude<TcbStatus, "Revoked"> {
  if (platform === "Revoked" || parts.includes("Revoked")) {
    throw new QuoteError("tcb_revoked", "the TCB level of this platform is revoked");
  }
  if (!parts.includes("OutOfDate")) return platform;
  return platform.startsWith("Configuration") || platform === "OutOfDateConfigurationNeeded"
    ? "OutOfDateConfigurationNeeded"
    : "OutOfDate";
}

/** The statuses that a better level has been published for. */
export function isOutOfDate(status: TcbStatus): boolean {
  return status === "OutOfDate" || status === "OutOfDateConfigurationNeeded";
}

function moduleVersion(body: TdReportBody): number {
  return body.teeTcbSvn[1] ?? 0;
}

function firstReached<L extends PlatformLevel | EnclaveLevel>(
  levels: readonly L[],
  reached: (level: L) => boolean,
  what: string,
): ReachedLevel<L["tcbStatus"]> {
  const index = levels.findIndex(reached);
  const level = levels[index];
  if (level === undefined) {
    throw new QuoteError("tcb_unsupported", `the ${what} reaches no TCB level that Intel supports`);
  }
  const better = levels
    .slice(0, index)
    .map((above) => above.tcbDate)
    .filter((date) => date > level.tcbDate);
  return {
    status: level.tcbStatus,
    advisories: level.advisoryIDs,
    date: level.tcbDate,
    outdatedSince: better.length === 0 ? undefined : Math.min(...better),
  };
}
