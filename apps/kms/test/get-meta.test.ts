import { PolicyConfig } from "@dstack/attestation";
import { expect, it } from "vitest";
import { describePolicy } from "../src/rpc/get-meta.js";

const release = { allowAnyUpgrade: false, requireFreshEvidence: true };
const linesOf = (policy: object): string[] =>
  describePolicy(
    { policy: PolicyConfig.parse({ images: { allow_all: true }, ...policy }), simulatedRoots: [] },
    release,
  );
const STRICT = ["fresh_evidence required", "allow_all", "tcb_status UpToDate"];

it("E7: GetMeta names each exception of the policy: grace, advisories, attributes that let the host in", () => {
  expect(linesOf({})).toEqual(STRICT);
  const lax = {
    grace_days: { OutOfDate: 30 },
    allowed_advisories: ["INTEL-SA-00615"],
    td: { allowed_attributes: ["MIGRATABLE", "PKS"], required_attributes: ["PERFMON"] },
  };
  expect(linesOf(lax)).toEqual([
    ...STRICT,
    "tcb_grace OutOfDate 30 days",
    "advisory INTEL-SA-00615",
    "td_attribute MIGRATABLE",
    "td_attribute PERFMON",
    "sept_ve_disable optional",
  ]);
});
