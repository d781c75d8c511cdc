import { describe, expect, it } from "vitest";
import { convergeStatus, enclaveLevel, isMasked, moduleLevel, platformLevel } from "../src/tcb.js";
import { TCB_STATUSES, readTcbInfo } from "../src/tcb-documents.js";
import type { EnclaveLevel, TcbInfo } from "../src/tcb-documents.js";
import type { PckPlatform } from "../src/pck-extension.js";
import { parseQuote } from "../src/quote.js";
import type { TdReportBody } from "../src/td-report.js";
import { codeOf, makeCase } from "./support/platform.js";
import { svn } from "./attacks/forgeries/row.js";

describe("the status of the whole", () => {
  const of = (platform: (typeof TCB_STATUSES)[number], ...parts: EnclaveLevel["tcbStatus"][]): string => {
    let status = "";
    const code = codeOf(() => (status = convergeStatus(platform, parts)));
    return code === "accepted" ? status : code;
  };

  it.each([
    ["UpToDate", "OutOfDate"],
    ["SWHardeningNeeded", "OutOfDate"],
    ["ConfigurationNeeded", "OutOfDateConfigurationNeeded"],
    ["ConfigurationAndSWHardeningNeeded", "OutOfDateConfigurationNeeded"],
    ["OutOfDate", "OutOfDate"],
    ["OutOfDateConfigurationNeeded", "OutOfDateConfigurationNeeded"],
    ["Revoked", "tcb_revoked"],
  ] as const)("is for %s with a part that is out of date: %s", (platform, expected) => {
    const alone = platform === "Revoked" ? "tcb_revoked" : platform;
    expect(of(platform)).toBe(alone);
    expect(of(platform, "UpToDate", "UpToDate")).toBe(alone);
    expect(of(platform, "UpToDate", "OutOfDate")).toBe(expected);
    expect(of(platform, "OutOfDate", "UpToDate")).toBe(expected);
    expect(of(platform, "Revoked", "OutOfDate")).toBe("tcb_revoked");
  });
});

describe("the level that is reached", () => {
  const level = (isvsvn: number, tcbDate: number, tcbStatus: EnclaveLevel["tcbStatus"]): EnclaveLevel => ({
    tcb: { isvsvn },
    tcbDate,
    tcbStatus,
    advisoryIDs: [`SA-${isvsvn}`],
  });
  const levels = [
    level(8, 300, "UpToDate"),
    level(6, 200, "OutOfDate"),
    level(4, 200, "OutOfDate"),
    level(2, 100, "Revoked"),
  ];
  const reached = (isvSvn: number) => enclaveLevel(levels, isvSvn, "enclave");

  it("is the first whose SVN is reached", () => {
    expect([9, 8, 7, 6, 5, 4, 3, 2].map((n) => reached(n).advisories[0])).toEqual([
      "SA-8",
      "SA-8",
      "SA-6",
      "SA-6",
      "SA-4",
      "SA-4",
      "SA-2",
      "SA-2",
    ]);
    expect(codeOf(() => reached(1))).toBe("tcb_unsupported");
    expect(codeOf(() => enclaveLevel([], 9, "enclave"))).toBe("tcb_unsupported");
  });

  it("tells since when there is a better one: a later one above it", () => {
    expect([8, 6, 4, 2].map((n) => reached(n).outdatedSince)).toEqual([undefined, 300, 300, 200]);
    expect([8, 6, 4, 2].map((n) => reached(n).date)).toEqual([300, 200, 200, 100]);
    const laterBelow = [level(8, 300, "UpToDate"), level(6, 200, "OutOfDate"), level(4, 250, "OutOfDate")];
    expect(enclaveLevel(laterBelow, 6, "enclave").outdatedSince).toBe(300);
  });
});

const good = makeCase();
/** The simulated platform's TCB info, changed. */
function tcbInfo(change: (info: TcbInfo) => Partial<TcbInfo> = () => ({})): TcbInfo {
  const info = readTcbInfo(good.collateral.tcb_info);
  return { ...info, ...change(info) };
}
const bodyWith = (changes: Partial<TdReportBody>): TdReportBody => ({
  ...parseQuote(good.quote).body,
  ...changes,
});

describe("the TDX module's identity", () => {
  const codeWith = (info: TcbInfo, changes: Partial<TdReportBody> = {}): string =>
    codeOf(() => moduleLevel(info, bodyWith(changes)));
  const identities = (change: (identity: TcbInfo["tdxModuleIdentities"][number]) => object) =>
    tcbInfo(({ tdxModuleIdentities }) => ({
      tdxModuleIdentities: tdxModuleIdentities.map((one) => ({ ...one, ...change(one) })),
    }));

  it("is that of the module's version, whatever the case of its name", () => {
    expect(moduleLevel(tcbInfo(), bodyWith({ teeTcbSvn: svn(6, 1, 0) }))?.status).toBe("UpToDate");
    expect(moduleLevel(tcbInfo(), bodyWith({ teeTcbSvn: svn(2, 1, 0) }))?.status).toBe("OutOfDate");
    expect(codeWith(identities(({ id }) => ({ id: id.toLowerCase() })))).toBe("accepted");
    expect(codeWith(tcbInfo(), { teeTcbSvn: svn(6, 2, 0) })).toBe("module_mismatch");
    expect(codeWith(tcbInfo(), { teeTcbSvn: svn(9, 0x10, 0) })).toBe("module_mismatch");
  });

  it("must be there once", () => {
    expect(codeWith(identities(() => ({ id: "TDX_01" })))).toBe("module_mismatch");
    expect(codeWith(tcbInfo(() => ({ tdxModuleIdentities: [] })))).toBe("module_mismatch");
  });

  it.each([
    ["the same", svn(7, 1, 3), "accepted"],
    ["a newer one", svn(8, 1, 3), "accepted"],
    ["one of a later version, which counts its SVNs anew", svn(0, 2, 3), "accepted"],
    ["one with a smaller SVN", svn(6, 1, 3), "module_mismatch"],
    ["one of an earlier version", svn(9, 0, 3), "module_mismatch"],
    ["one under an older microcode", svn(8, 2, 2), "module_mismatch"],
    ["one that says nothing of itself", svn(0, 0, 0), "module_mismatch"],
  ])("E7: may have been replaced while the TD ran, but not by an older module: %s", (_, now, expected) => {
    expect(codeWith(tcbInfo(), { teeTcbSvn: svn(7, 1, 3), teeTcbSvn2: now })).toBe(expected);
  });

  it("has no levels for version 0, which is judged by the platform's TDX module", () => {
    const old = { teeTcbSvn: svn(4, 0, 3) };
    expect(moduleLevel(tcbInfo(), bodyWith(old))).toBeUndefined();
    const zero = identities(() => ({ id: "TDX_00", mrsigner: "11".repeat(48) }));
    expect(moduleLevel(zero, bodyWith(old))).toBeUndefined();
    const other = tcbInfo(({ tdxModule }) => ({ tdxModule: { ...tdxModule, mrsigner: "11".repeat(48) } }));
    expect(codeWith(other, old)).toBe("module_mismatch");
    expect(codeWith(other)).toBe("accepted");
  });

  it("compares signer and attributes, whatever the case of the hex", () => {
    const signer = new Uint8Array(48).fill(0xab);
    const named = identities(() => ({ mrsigner: "AB".repeat(48) }));
    expect(codeWith(named, { mrSignerSeam: signer })).toBe("accepted");
    expect(codeWith(named)).toBe("module_mismatch");
    expect(codeWith(identities(() => ({ attributes: `01${"00".repeat(7)}` })))).toBe("module_mismatch");
    const set = Uint8Array.of(0, 0, 0, 0, 0, 0, 0, 0x80);
    expect(
      codeWith(
        identities(() => ({ attributesMask: "00".repeat(8) })),
        { seamAttributes: set },
      ),
    ).toBe("module_mismatch");
  });
});

describe("the platform's level", () => {
  const platform: PckPlatform = {
    ppid: "",
    fmspc: "FF53494D0000",
    pceId: "0000",
    components: [3, 3, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0],
    pceSvn: 13,
  };
  const statusOf = (changes: Partial<PckPlatform>, teeTcbSvn = svn(6, 1, 3)): string =>
    platformLevel(tcbInfo(), { ...platform, ...changes }, bodyWith({ teeTcbSvn })).status;

  it("needs every component of the processor, and the PCE", () => {
    expect(statusOf({})).toBe("UpToDate");
    expect(statusOf({ pceSvn: 12 })).toBe("OutOfDate");
    platform.components.forEach((component, i) => {
      if (component === 0) return;
      const components = platform.components.map((value, at) => (at === i ? value - 1 : value));
      expect(statusOf({ components }), `component ${i}`).toBe("OutOfDate");
    });
    expect(statusOf({ components: platform.components.map((value) => value + 1) })).toBe("UpToDate");
  });

  it("needs every TDX component, the first two only of a module without an identity of its own", () => {
    expect(statusOf({}, svn(6, 1, 2))).toBe("OutOfDate");
    expect(statusOf({}, svn(0, 1, 3))).toBe("UpToDate");
    expect(statusOf({}, svn(5, 0, 3))).toBe("UpToDate");
    expect(statusOf({}, svn(4, 0, 3))).toBe("OutOfDate");
  });

  it("is of its own kind of platform only", () => {
    expect(codeOf(() => statusOf({ fmspc: "FF53494D0001" }))).toBe("platform_mismatch");
    expect(codeOf(() => statusOf({ pceId: "0001" }))).toBe("platform_mismatch");
  });
});

it("compares the bits of a mask, byte by byte", () => {
  const value = Uint8Array.of(0b1010, 0xff);
  expect(isMasked(value, "0aff", "ffff")).toBe(true);
  expect(isMasked(value, "0bff", "ffff")).toBe(false);
  expect(isMasked(value, "0bff", "feff")).toBe(true);
  expect(isMasked(value, "0afe", "ffff")).toBe(false);
  expect(isMasked(value, "ff0a", "ffff")).toBe(false);
  expect(isMasked(value, "0000", "0000")).toBe(true);
  expect(isMasked(value, "0000", "0500")).toBe(true);
});
