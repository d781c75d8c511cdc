import { hex } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { PolicyConfig, assertPolicyUsable, checkPolicy } from "../src/index.js";
import type { Policy } from "../src/index.js";
import { LAUNCH, NOW, codeOf, evidenceOf, register } from "./support/platform.js";
import type { CaseOptions } from "./support/platform.js";

const { mrtd, rtmr0, rtmr1, rtmr2 } = LAUNCH;
const IMAGE = { name: "tests", mrtd, rtmr0, rtmr1, rtmr2 };
const SIMULATED = ["root.pem"];

function policy(changes: Record<string, unknown> = {}): Policy {
  return PolicyConfig.parse({
    images: { allowed: [IMAGE] },
    insecure_simulated_roots: SIMULATED,
    ...changes,
  });
}

function verdict(options: CaseOptions = {}, changes: Record<string, unknown> = {}): string {
  const evidence = evidenceOf(options);
  return codeOf(() => checkPolicy(evidence, policy(changes)));
}

function images(...allowed: Record<string, unknown>[]): Record<string, unknown> {
  return { images: { allowed } };
}

function bit(...bits: number[]): Uint8Array {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(
    0,
    bits.reduce((sum, n) => sum | (1n << BigInt(n)), 0n),
    true,
  );
  return bytes;
}

const ADVISORIES = ["INTEL-SA-00615", "intel-sa-00615", "INTEL-DOC-00001"];
const NO_ADVISORIES = [
  "",
  "00615",
  "INTEL-SA-615",
  "INTEL-SA-006155",
  " INTEL-SA-00615",
  "INTEL-SA-00615 ",
  1,
];
const hexes = (bytes: number): string[] => ["0".repeat(2 * bytes), "aF".repeat(bytes)];
const notHexes = (bytes: number): string[] => [
  ...["", "0".repeat(2 * bytes - 1), "0".repeat(2 * bytes + 1), "0".repeat(2 * bytes + 2)],
  `g${"0".repeat(2 * bytes - 1)}`,
];

describe("PolicyConfig", () => {
  it("E7: allows UpToDate only, E9: no measurement, and E10: no simulated root by default", () => {
    expect(PolicyConfig.parse({})).toEqual({
      allowed_status: ["UpToDate"],
      allowed_advisories: [],
      denied_advisories: [],
      grace_days: {},
      min_tcb_evaluation_number: 0,
      denied_fmspc: [],
      denied_ppid: [],
      td: {
        allowed_attributes: ["LASS", "PKS", "KL"],
        required_attributes: ["SEPT_VE_DISABLE"],
        allowed_xfam: "0xfffff",
      },
      images: { allow_all: false, allowed: [] },
      insecure_simulated_roots: [],
    });
  });

  it("refuses keys and values nobody knows", () => {
    for (const bad of [
      { allow_debug: true },
      { allowed_status: ["Revoked"] },
      { allowed_status: ["uptodate"] },
      { grace_days: { UpToDate: 3 } },
      { grace_days: { OutOfDate: 0 } },
      { td: { allowed_attributes: ["DEBUG"] } },
      { td: { allowed_attributes: ["PERF_PROF"] } },
      { td: { allowed_xfam: "fffff" } },
      { denied_ppid: ["00"] },
      { denied_fmspc: ["00"] },
      images({ ...IMAGE, rtmr3: rtmr2 }),
      images({ ...IMAGE, mrtd: "00" }),
      images({ ...IMAGE, rtmr1: [rtmr1] }),
      images({ ...IMAGE, rtmr0: [] }),
      images({ ...IMAGE, rtmr1: "any" }),
    ]) {
      expect(PolicyConfig.safeParse(bad).success, JSON.stringify(bad)).toBe(false);
    }
  });

  it.each<[string, (value: unknown) => object, readonly unknown[], readonly unknown[]]>([
    ["allowed_advisories", (v) => ({ allowed_advisories: [v] }), ADVISORIES, NO_ADVISORIES],
    ["denied_advisories", (v) => ({ denied_advisories: [v] }), ADVISORIES, NO_ADVISORIES],
    ["grace_days", (v) => ({ grace_days: { OutOfDate: v } }), [1, 365], [0, 366, 1.5, "1"]],
    ["min_tcb_evaluation_number", (v) => ({ min_tcb_evaluation_number: v }), [0, 1000], [-1, 0.5, "1"]],
    ["denied_ppid", (v) => ({ denied_ppid: [v] }), hexes(16), notHexes(16)],
    ["allowed_ppid", (v) => ({ allowed_ppid: [v] }), hexes(16), notHexes(16)],
    ["denied_fmspc", (v) => ({ denied_fmspc: [v] }), hexes(6), notHexes(6)],
    [
      "td.allowed_xfam",
      (v) => ({ td: { allowed_xfam: v } }),
      ["0x0", `0x${"F".repeat(16)}`],
      ["0x", `0x${"F".repeat(17)}`, "0xg", " 0x1", "0x1 ", "1", 1],
    ],
    ["an image's name", (v) => images({ ...IMAGE, name: v }), ["x", "x".repeat(128)], ["", "x".repeat(129)]],
    ["an image's mrtd", (v) => images({ ...IMAGE, mrtd: v }), hexes(48), notHexes(48)],
    ["an image's rtmr0", (v) => images({ ...IMAGE, rtmr0: v }), [...hexes(48), hexes(48)], notHexes(48)],
    ["images.allow_all", (v) => ({ images: { allow_all: v } }), [true, false], ["true", 1]],
    ["insecure_simulated_roots", (v) => ({ insecure_simulated_roots: v }), [[], ["a"]], ["a", [1]]],
  ])("takes of %s what is in its limits, and refuses the rest", (_, policyWith, good, bad) => {
    const takes = (value: unknown): boolean => PolicyConfig.safeParse(policyWith(value)).success;
    expect(good.filter((value) => !takes(value))).toEqual([]);
    expect(bad.filter((value) => takes(value))).toEqual([]);
  });

  it("says what a value must be", () => {
    const messageOf = (value: object): string | undefined =>
      PolicyConfig.safeParse(value).error?.issues[0]?.message;
    expect(messageOf(images({ ...IMAGE, mrtd: "00" }))).toBe("must be a measurement, 48 bytes of hex");
    expect(messageOf({ denied_ppid: [""] })).toBe("must be a PPID, 16 bytes of hex");
    expect(messageOf({ denied_fmspc: [""] })).toBe("must be an FMSPC, 6 bytes of hex");
    expect(messageOf({ td: { allowed_xfam: "" } })).toBe('must be a mask such as "0xfffff"');
    expect(messageOf({ denied_advisories: [""] })).toBe('must be an advisory such as "INTEL-SA-00615"');
  });

  it("E9: tells whoever leaves RTMR0 out how to say that on purpose", () => {
    const parsed = PolicyConfig.safeParse(images({ name: "tests", mrtd, rtmr1, rtmr2 }));
    expect(parsed.error?.issues[0]?.message).toContain('or "any"');
  });

  it("is the same from JSON", () => {
    expect(PolicyConfig.parse(JSON.parse(JSON.stringify(policy())))).toEqual(policy());
  });

  it("takes measurements in upper case", () => {
    const upper = { ...IMAGE, mrtd: mrtd.toUpperCase(), rtmr0: [rtmr0.toUpperCase()] };
    expect(policy(images(upper)).images.allowed).toEqual([{ ...IMAGE, rtmr0: [rtmr0] }]);
  });
});

describe("E9: measurements", () => {
  it("passes an image on the list", () => expect(verdict()).toBe("accepted"));

  it.each(["mrtd", "rtmr0", "rtmr1", "rtmr2"])("refuses an image whose %s is not on the list", (name) => {
    expect(verdict({}, images({ ...IMAGE, [name]: register("other") }))).toBe("measurement_refused");
  });

  it("refuses the firmware of one allowed image with the kernel of another", () => {
    const other = (name: string) => register(`other ${name}`);
    const firmware = { ...IMAGE, name: "a", rtmr1: other("rtmr1"), rtmr2: other("rtmr2") };
    const kernel = { ...IMAGE, name: "b", mrtd: other("mrtd"), rtmr0: other("rtmr0") };
    expect(verdict({}, images(firmware, kernel))).toBe("measurement_refused");
    expect(verdict({}, images(firmware, kernel, IMAGE))).toBe("accepted");
  });

  it("passes one of several VM shapes, any only when that is said, and says which register is wrong", () => {
    expect(verdict({}, images({ ...IMAGE, rtmr0: [register("4 GB"), rtmr0] }))).toBe("accepted");
    expect(verdict({}, images({ ...IMAGE, rtmr0: [register("4 GB")] }))).toBe("measurement_refused");
    expect(verdict({}, images({ ...IMAGE, rtmr0: "any" }))).toBe("accepted");
    expect(() => checkPolicy(evidenceOf(), policy(images({ ...IMAGE, rtmr1: register("x") })))).toThrow(
      `no allowed image has rtmr1 ${rtmr1}; the nearest is tests`,
    );
    const both = images({ ...IMAGE, rtmr1: register("x"), rtmr2: register("x") });
    expect(() => checkPolicy(evidenceOf(), policy(both))).toThrow(
      `no allowed image has rtmr1 ${rtmr1}, rtmr2 ${rtmr2}; the nearest is tests`,
    );
  });

  it("does not start with an empty list, or with a list and allow_all", () => {
    expect(codeOf(() => assertPolicyUsable(PolicyConfig.parse({})))).toBe("policy_unusable");
    const both = policy({ images: { allow_all: true, allowed: [IMAGE] } });
    expect(codeOf(() => assertPolicyUsable(both))).toBe("policy_unusable");
  });

  it.each<[Record<string, unknown>, string]>([
    [{ allowed_status: [] }, "allowed_status is empty: no platform could pass"],
    [{ allowed_ppid: [] }, "allowed_ppid is empty: no platform could pass; leave it out to accept any"],
    [
      { allowed_status: ["UpToDate", "OutOfDate"], grace_days: { OutOfDate: 3 } },
      "OutOfDate stands in allowed_status and in grace_days; say one of them",
    ],
    [
      { allowed_advisories: ["INTEL-SA-00001"], denied_advisories: ["intel-sa-00001"] },
      "INTEL-SA-00001 stands in allowed_advisories and in denied_advisories; say one of them",
    ],
    [
      { allowed_ppid: ["0a".repeat(16)], denied_ppid: ["0A".repeat(16)] },
      `${"0a".repeat(16)} stands in allowed_ppid and in denied_ppid; say one of them`,
    ],
  ])("does not start with what contradicts itself or lets nothing pass: %j", (changes, message) => {
    assertPolicyUsable(policy());
    expect(() => assertPolicyUsable(policy(changes))).toThrow(
      expect.objectContaining({ code: "policy_unusable", message }),
    );
  });

  it("refuses everything when asked with an empty list all the same", () => {
    expect(verdict({}, { images: {} })).toBe("policy_unusable");
  });

  it("passes any image when allow_all is spelled out", () => {
    const options = { images: { allow_all: true } };
    assertPolicyUsable(policy(options));
    expect(verdict({ td: { mrTd: new Uint8Array(48).fill(9) } }, options)).toBe("accepted");
  });
});

describe("E10: simulated evidence", () => {
  it("is refused when the policy names no simulated root, though the caller trusted one", () => {
    expect(verdict({}, { insecure_simulated_roots: [] })).toBe("simulated_refused");
  });
});

describe("E6: attributes of the TD", () => {
  it.each([0, 1, 2, 3, 4, 5, 6, 7, 8, 26, 29, 32, 40, 62, 63])("refuses bit %i", (n) => {
    expect(verdict({ td: { tdAttributes: bit(28, n) } })).toBe("td_attributes_refused");
  });

  it.each([27, 30, 31])("passes bit %i, a harmless feature", (n) => {
    expect(verdict({ td: { tdAttributes: bit(28, n) } })).toBe("accepted");
  });

  it("refuses a TD without SEPT_VE_DISABLE", () => {
    expect(verdict({ td: { tdAttributes: bit() } })).toBe("td_attributes_refused");
  });

  it("passes a migratable TD only when that is allowed, and never a debug TD", () => {
    const td = { allowed_attributes: ["MIGRATABLE", "PERFMON", "PKS", "KL", "LASS"] };
    const migratable: CaseOptions = { td: { tdAttributes: bit(28, 29, 63) } };
    expect(verdict({ ...migratable, quote: { version: 5 } }, { td })).toBe("accepted");
    // A quote of TDX 1.0 cannot tell who may move it.
    expect(verdict(migratable, { td })).toBe("seam_refused");
    expect(verdict({ ...migratable, quote: { version: 5, bodyType: 2 } }, { td })).toBe("seam_refused");
    for (const n of [0, 1, 2, 3, 4, 5, 6, 7, 8, 62]) {
      expect(verdict({ td: { tdAttributes: bit(28, 29, n) } }, { td }), `bit ${n}`).toBe(
        "td_attributes_refused",
      );
    }
  });

  it("passes a harmless feature only while it is on the list, and misses what is required", () => {
    const pks = { td: { tdAttributes: bit(28, 30) } };
    expect(verdict(pks, { td: { allowed_attributes: [] } })).toBe("td_attributes_refused");
    expect(verdict({}, { td: { allowed_attributes: [] } })).toBe("accepted");
    const required = { td: { required_attributes: ["SEPT_VE_DISABLE", "PKS"] } };
    expect(verdict({}, required)).toBe("td_attributes_refused");
    expect(verdict(pks, required)).toBe("accepted");
    expect(verdict({ td: { tdAttributes: bit() } }, { td: { required_attributes: [] } })).toBe("accepted");
  });

  it("refuses processor features outside the mask", () => {
    const used = { td: { xfam: bit(0, 1, 2, 17) } };
    expect(verdict(used, { td: { allowed_xfam: "0x20007" } })).toBe("accepted");
    expect(verdict(used, { td: { allowed_xfam: "0x7" } })).toBe("td_attributes_refused");
  });

  it("says so when it is a debug TD", () => {
    const evidence = evidenceOf({ td: { tdAttributes: bit(28, 0) } });
    expect(() => checkPolicy(evidence, policy())).toThrow("debug mode");
  });

  it("refuses processor features nobody knows", () => {
    expect(verdict({ td: { xfam: bit(0, 1, 20) } })).toBe("td_attributes_refused");
    expect(verdict({ td: { xfam: bit(0, 1, 63) } })).toBe("td_attributes_refused");
  });

  it("refuses a service TD", () => {
    const bound = { quote: { version: 5 as const }, td: { mrServiceTd: new Uint8Array(48).fill(1) } };
    expect(verdict(bound)).toBe("seam_refused");
    const last = Uint8Array.from({ length: 48 }, (_, i) => (i === 47 ? 1 : 0));
    expect(verdict({ ...bound, td: { mrServiceTd: last } })).toBe("seam_refused");
    expect(verdict({ quote: { version: 5 } })).toBe("accepted");
  });

  it("refuses a module that is not Intel's, though signed collateral described it", () => {
    const signer = new Uint8Array(48).fill(1);
    const foreign: CaseOptions = {
      td: { mrSignerSeam: signer },
      platform: {
        editTcbInfo: (info) => info.tdxModuleIdentities.forEach((m) => (m.mrsigner = hex(signer))),
      },
    };
    expect(verdict(foreign)).toBe("seam_refused");
  });
});

describe("E7: state of the platform", () => {
  const outdated: CaseOptions = {
    platform: { pceSvn: 12, componentSvns: [3, 3, 2, 2, 4, 1, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0] },
  };

  it("refuses an outdated platform and lists its advisories", () => {
    const evidence = evidenceOf(outdated);
    expect(evidence.quote).toMatchObject({ status: "OutOfDate", tcbDate: "2023-08-09T00:00:00Z" });
    expect(() => checkPolicy(evidence, policy())).toThrow(
      /^the platform is OutOfDate as of 2023-08-09T00:00:00Z \(INTEL-SA-00001, INTEL-SA-00002\)$/,
    );
    const { status, advisories, ...rest } = evidence.quote;
    const unlisted = { ...evidence, quote: { ...rest, status, advisories: [] } };
    expect(advisories).toHaveLength(2);
    expect(() => checkPolicy(unlisted, policy())).toThrow(/ \(no advisories\)$/);
    expect(verdict(outdated)).toBe("tcb_status_refused");
  });

  it("passes an allowed status only with every advisory listed", () => {
    const allowed = { allowed_status: ["UpToDate", "OutOfDate"] };
    expect(verdict(outdated, allowed)).toBe("advisory_refused");
    expect(verdict(outdated, { ...allowed, allowed_advisories: ["INTEL-SA-00001"] })).toBe(
      "advisory_refused",
    );
    const listed = ["INTEL-SA-00001", "INTEL-SA-00002"];
    expect(verdict(outdated, { ...allowed, allowed_advisories: listed })).toBe("accepted");
  });

  it("refuses a denied processor, a denied kind of platform, and all but the allowed processors", () => {
    const { ppid, fmspc } = evidenceOf().quote;
    expect(verdict({}, { denied_ppid: [ppid.toUpperCase()] })).toBe("platform_denied");
    expect(verdict({}, { denied_fmspc: [fmspc.toLowerCase()] })).toBe("platform_denied");
    const other = "0".repeat(32);
    expect(verdict({}, { denied_ppid: [other], denied_fmspc: ["0".repeat(12)] })).toBe("accepted");
    expect(verdict({}, { allowed_ppid: [other] })).toBe("platform_denied");
    expect(verdict({}, { allowed_ppid: [other, ppid] })).toBe("accepted");
  });

  it("refuses an advisory even of an up-to-date platform", () => {
    const options: CaseOptions = { platform: { tcbAdvisories: ["INTEL-SA-00009"] } };
    expect(verdict(options)).toBe("advisory_refused");
    expect(verdict(options, { allowed_advisories: ["INTEL-SA-00009"] })).toBe("accepted");
  });

  it("E7: grace for a part that is out of date excuses nothing that its update does not mend", () => {
    const hiding = (tcbStatus: "SWHardeningNeeded" | "ConfigurationAndSWHardeningNeeded"): CaseOptions => ({
      platform: {
        tcbStatus,
        tcbAdvisories: ["INTEL-SA-00615"],
        qe: { isvSvn: 3 },
        editQeIdentity: (identity) => {
          const [best, reached] = identity.tcbLevels;
          if (best !== undefined) best.tcbDate = isoTime(NOW - 86_400);
          if (reached !== undefined) reached.advisoryIDs = ["INTEL-SA-00002"];
        },
      },
    });
    const grace = { grace_days: { OutOfDate: 30, OutOfDateConfigurationNeeded: 30 } };
    const hardened = hiding("SWHardeningNeeded");
    expect(evidenceOf(hardened).quote).toMatchObject({
      status: "OutOfDate",
      platformStatus: "SWHardeningNeeded",
      lastingAdvisories: ["INTEL-SA-00615"],
    });
    expect(verdict(hardened, grace)).toBe("tcb_status_refused");
    expect(verdict(hiding("ConfigurationAndSWHardeningNeeded"), grace)).toBe("tcb_status_refused");
    const allowed = { ...grace, allowed_status: ["UpToDate", "SWHardeningNeeded"] };
    expect(verdict(hardened, allowed)).toBe("advisory_refused");
    expect(verdict(hardened, { ...allowed, allowed_advisories: ["INTEL-SA-00615"] })).toBe("accepted");
    const denied = { allowed_advisories: ["INTEL-SA-00615"], denied_advisories: ["INTEL-SA-00002"] };
    expect(verdict(hardened, { ...allowed, ...denied })).toBe("advisory_refused");
  });

  it("gives an outdated platform grace from the day a better level came out", () => {
    const sinceDays = (days: number): CaseOptions => ({
      platform: {
        ...outdated.platform,
        editTcbInfo: (info) => {
          const [best] = info.tcbLevels;
          if (best !== undefined) best.tcbDate = isoTime(NOW - days * 86_400);
        },
      },
    });
    const grace = { grace_days: { OutOfDate: 30 } };
    expect(verdict(sinceDays(30), grace)).toBe("accepted");
    expect(verdict(sinceDays(31), grace)).toBe("tcb_status_refused");
    expect(() => checkPolicy(evidenceOf(sinceDays(31)), policy(grace))).toThrow(/its grace ended 2026-02-28/);
    expect(verdict(sinceDays(29))).toBe("tcb_status_refused");
    for (const denied of ["INTEL-SA-00002", "intel-sa-00002"]) {
      expect(verdict(sinceDays(29), { ...grace, denied_advisories: [denied] })).toBe("advisory_refused");
    }
    const sinceYesterday: CaseOptions = {
      platform: {
        tcbStatus: "ConfigurationNeeded",
        qe: { isvSvn: 3 },
        editQeIdentity: (identity) => {
          const [best] = identity.tcbLevels;
          if (best !== undefined) best.tcbDate = isoTime(NOW - 86_400);
        },
      },
    };
    expect(evidenceOf(sinceYesterday).quote.status).toBe("OutOfDateConfigurationNeeded");
    expect(verdict(sinceYesterday, grace)).toBe("tcb_status_refused");
    expect(verdict(sinceYesterday, { grace_days: { OutOfDateConfigurationNeeded: 30 } })).toBe("accepted");
  });

  it("gives no grace to a platform nobody published a better level for", () => {
    const options: CaseOptions = { platform: { tcbStatus: "OutOfDate" } };
    expect(evidenceOf(options).quote.outdatedSince).toBeUndefined();
    expect(verdict(options, { grace_days: { OutOfDate: 365 } })).toBe("tcb_status_refused");
  });

  it("gives no grace for one part when another is out of date since nobody knows when", () => {
    const yesterday = isoTime(NOW - 86_400);
    const oldEnclave: CaseOptions["platform"] = {
      qe: { isvSvn: 3 },
      editQeIdentity: (identity) =>
        identity.tcbLevels.slice(0, 1).forEach((best) => (best.tcbDate = yesterday)),
    };
    const grace = { grace_days: { OutOfDate: 30 } };
    expect(verdict({ platform: oldEnclave }, grace)).toBe("accepted");
    const both = { platform: { ...oldEnclave, tcbStatus: "OutOfDate" } };
    expect(evidenceOf(both).quote).toMatchObject({ status: "OutOfDate" });
    expect(verdict(both, grace)).toBe("tcb_status_refused");
    const configured = { platform: { ...oldEnclave, tcbStatus: "OutOfDateConfigurationNeeded" } };
    expect(verdict(configured, { grace_days: { OutOfDateConfigurationNeeded: 30 } })).toBe(
      "tcb_status_refused",
    );
  });

  it("counts grace from the first better level of any part", () => {
    const both = evidenceOf({
      td: { teeTcbSvn: Uint8Array.of(5, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) },
      platform: {
        qe: { isvSvn: 3 },
        editQeIdentity: ({ tcbLevels: [best] }) => best && (best.tcbDate = "2025-06-01T00:00:00Z"),
      },
    });
    expect(both.quote.outdatedSince).toBe(Date.parse("2024-11-13T00:00:00Z") / 1000);
  });

  it("judges the TDX module and the quoting enclave with the processor", () => {
    const module = evidenceOf({
      td: { teeTcbSvn: Uint8Array.of(5, 1, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) },
    });
    expect(module.quote).toMatchObject({
      status: "OutOfDate",
      advisories: ["INTEL-SA-00001", "INTEL-SA-00002"],
      tcbDate: "2023-08-09T00:00:00Z",
      outdatedSince: Date.parse("2024-11-13T00:00:00Z") / 1000,
    });
    const enclave = evidenceOf({ platform: { qe: { isvSvn: 3 } } });
    expect(enclave.quote).toMatchObject({ status: "OutOfDate", advisories: ["INTEL-SA-00003"] });
  });

  it.each([
    "SWHardeningNeeded",
    "ConfigurationNeeded",
    "ConfigurationAndSWHardeningNeeded",
    "OutOfDateConfigurationNeeded",
  ])("refuses %s unless it is listed", (status) => {
    const options: CaseOptions = { platform: { tcbStatus: status } };
    expect(verdict(options)).toBe("tcb_status_refused");
    expect(verdict(options, { allowed_status: ["UpToDate", status] })).toBe("accepted");
  });

  it("E8: a verdict holds until the first of its parts runs out", () => {
    const nextUpdate = isoTime(NOW + 100);
    const soon = evidenceOf({ platform: { editTcbInfo: (info) => void (info.nextUpdate = nextUpdate) } });
    expect(soon.quote.earliestExpiry).toBe(NOW + 100);
  });

  it("E8: refuses collateral of an evaluation before the required one, though it be in date", () => {
    expect(verdict({}, { min_tcb_evaluation_number: 18 })).toBe("accepted");
    expect(verdict({}, { min_tcb_evaluation_number: 19 })).toBe("collateral_too_old");
    const oldIdentity: CaseOptions = {
      platform: { editQeIdentity: (identity) => void (identity.tcbEvaluationDataNumber = 17) },
    };
    expect(verdict(oldIdentity, { min_tcb_evaluation_number: 18 })).toBe("collateral_too_old");
  });
});

function isoTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString().replace(".000Z", "Z");
}
