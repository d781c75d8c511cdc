import { hex } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { PolicyConfig, assertPolicyUsable, checkPolicy } from "../src/index.js";
import type { Policy } from "../src/index.js";
import { LAUNCH, NOW, codeOf, evidenceOf, register } from "./support/platform.js";
import type { CaseOptions } from "./support/platform.js";

const { mrtd, rtmr0, rtmr1, rtmr2 } = LAUNCH;
const ALLOWED = { mrtd: [mrtd], rtmr0: [rtmr0], rtmr1: [rtmr1], rtmr2: [rtmr2] };
const SIMULATED = ["root.pem"];

function policy(changes: Record<string, unknown> = {}): Policy {
  return PolicyConfig.parse({ allowed_mr: ALLOWED, insecure_simulated_roots: SIMULATED, ...changes });
}

function verdict(options: CaseOptions = {}, changes: Record<string, unknown> = {}): string {
  const evidence = evidenceOf(options);
  return codeOf(() => checkPolicy(evidence, policy(changes)));
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

describe("PolicyConfig", () => {
  it("E7: allows UpToDate only, E9: no measurement, and E10: no simulated root by default", () => {
    expect(PolicyConfig.parse({})).toEqual({
      allowed_status: ["UpToDate"],
      allowed_advisories: [],
      grace_days: 0,
      min_tcb_evaluation_number: 0,
      allow_migration: false,
      allowed_mr: { allow_all: false, mrtd: [], rtmr0: [], rtmr1: [], rtmr2: [] },
      insecure_simulated_roots: [],
    });
  });

  it("refuses keys and values nobody knows", () => {
    for (const bad of [
      { allow_debug: true },
      { allowed_status: ["Revoked"] },
      { allowed_status: ["uptodate"] },
      { allowed_mr: { rtmr3: [] } },
      { allowed_mr: { mrtd: ["00"] } },
    ]) {
      expect(PolicyConfig.safeParse(bad).success).toBe(false);
    }
  });

  it("takes measurements in upper case", () => {
    expect(policy({ allowed_mr: { ...ALLOWED, mrtd: [mrtd.toUpperCase()] } }).allowed_mr.mrtd).toEqual([
      mrtd,
    ]);
  });
});

describe("E9: measurements", () => {
  it("passes an image on the list", () => expect(verdict()).toBe("accepted"));

  it.each(["mrtd", "rtmr0", "rtmr1", "rtmr2"])("refuses an image whose %s is not on the list", (name) => {
    expect(verdict({}, { allowed_mr: { ...ALLOWED, [name]: [register("other")] } })).toBe(
      "measurement_refused",
    );
  });

  it("does not start with an empty list, or with a list and allow_all", () => {
    expect(codeOf(() => assertPolicyUsable(PolicyConfig.parse({})))).toBe("policy_unusable");
    for (const name of ["mrtd", "rtmr0", "rtmr1", "rtmr2"]) {
      const withoutOne = policy({ allowed_mr: { ...ALLOWED, [name]: [] } });
      expect(
        codeOf(() => assertPolicyUsable(withoutOne)),
        name,
      ).toBe("policy_unusable");
    }
    expect(codeOf(() => assertPolicyUsable(policy({ allowed_mr: { ...ALLOWED, allow_all: true } })))).toBe(
      "policy_unusable",
    );
    expect(codeOf(() => assertPolicyUsable(policy({ allowed_status: [] })))).toBe("policy_unusable");
  });

  it("refuses everything when asked with an empty list all the same", () => {
    expect(verdict({}, { allowed_mr: {} })).toBe("policy_unusable");
  });

  it("passes any image when allow_all is spelled out", () => {
    const options = { allowed_mr: { allow_all: true } };
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
    expect(verdict({ td: { tdAttributes: bit(28, 29) } }, { allow_migration: true })).toBe("accepted");
    expect(verdict({ td: { tdAttributes: bit(28, 29, 0) } }, { allow_migration: true })).toBe(
      "td_attributes_refused",
    );
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
      "the platform is OutOfDate as of 2023-08-09T00:00:00Z (INTEL-SA-00001, INTEL-SA-00002)",
    );
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

  it("refuses an advisory even of an up-to-date platform", () => {
    const options: CaseOptions = { platform: { tcbAdvisories: ["INTEL-SA-00009"] } };
    expect(verdict(options)).toBe("advisory_refused");
    expect(verdict(options, { allowed_advisories: ["INTEL-SA-00009"] })).toBe("accepted");
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
    expect(verdict(sinceDays(29), { grace_days: 30 })).toBe("accepted");
    expect(verdict(sinceDays(31), { grace_days: 30 })).toBe("tcb_status_refused");
    expect(verdict(sinceDays(29))).toBe("tcb_status_refused");
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
    expect(verdict(sinceYesterday, { grace_days: 30 })).toBe("tcb_status_refused");
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
