import { utf8 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import {
  PolicyConfig,
  allowedImage,
  checkPolicy,
  explain,
  formatTree,
  leavesOf,
  runtimeEvent,
  verdictOf,
  verifyEvidence,
} from "../src/index.js";
import type { ExplainInput, Explanation, Policy } from "../src/index.js";
import { AT, flip, put } from "./support/edit-quote.js";
import {
  BOOT_EVENTS,
  KEY_PROVIDER,
  LAUNCH,
  NOW,
  REPORT_DATA,
  SYSTEM_READY,
  logOf,
  makeCase,
  register,
} from "./support/platform.js";
import type { CaseOptions } from "./support/platform.js";
import { genuine, haveVectors } from "./support/vectors.js";
import { INTEL_ROOT } from "../src/anchors.js";

const POLICY: Policy = PolicyConfig.parse({
  images: { allowed: [allowedImage("dstack-test", LAUNCH)] },
  insecure_simulated_roots: ["root.pem"],
});

function inputOf(options: CaseOptions = {}, changes: Partial<ExplainInput> = {}): ExplainInput {
  return {
    ...makeCase(options),
    eventLog: JSON.stringify(logOf(options.events)),
    reportData: REPORT_DATA,
    policy: POLICY,
    ...changes,
  };
}

function svns(...first: number[]): Uint8Array {
  return Uint8Array.from({ length: 16 }, (_, i) => first[i] ?? 0);
}

/** What strict verification of the same input throws, as `code: message`. */
function strictRefusal(input: ExplainInput): string | undefined {
  const { collateral, eventLog, reportData } = input;
  if ("missing" in collateral || typeof eventLog !== "string" || "missing" in reportData) {
    throw new Error("strict verification needs everything");
  }
  try {
    checkPolicy(verifyEvidence({ ...input, collateral, eventLog, reportData }), input.policy);
    return undefined;
  } catch (err) {
    if (err instanceof Error && "code" in err) return `${String(err.code)}: ${err.message}`;
    throw err;
  }
}

function firstRefusal({ tree }: Explanation): string | undefined {
  const [failure] = leavesOf(tree, "fail");
  return failure && `${failure.code ?? "no code"}: ${failure.detail}`;
}

describe("explain", () => {
  it("shows every check of good evidence", () => {
    const input = inputOf({ events: [...BOOT_EVENTS, KEY_PROVIDER, SYSTEM_READY] });
    const { tree, quote, identity } = explain(input);
    expect(verdictOf(tree)).toBe("verified");
    expect(quote?.anchor).toBe("simulated");
    expect(identity?.systemReady).toBe(true);
    expect(formatTree(tree)).toMatchSnapshot();
  });

  it("shows where bad evidence was refused, and what was not looked at for that", () => {
    const revoked = explain(inputOf({ platform: { revoked: ["pck"] } }));
    expect(verdictOf(revoked.tree)).toBe("refused");
    expect(revoked).not.toHaveProperty("quote");
    expect(formatTree(revoked.tree)).toMatchSnapshot("revoked PCK");

    const log = explain(inputOf({}, { eventLog: JSON.stringify(logOf([...BOOT_EVENTS, SYSTEM_READY])) }));
    expect(log).not.toHaveProperty("identity");
    expect(formatTree(log.tree)).toMatchSnapshot("another boot's log");
  });

  it("goes on through the policy, and tells everything that is wrong", () => {
    const debug = new Uint8Array(8);
    debug[0] = 1;
    const input = inputOf(
      { td: { tdAttributes: debug, mrTd: new Uint8Array(48) } },
      { reportData: new Uint8Array(64) },
    );
    const codes = leavesOf(explain(input).tree, "fail").map((leaf) => leaf.code);
    expect(codes).toEqual(["report_data_mismatch", "td_attributes_refused", "measurement_refused"]);
  });

  it("E11: keeps every check on its line, whatever the guest wrote", () => {
    const provider = runtimeEvent("key-provider", utf8("x\nok   evidence\u001b[2K\u202e"));
    const text = formatTree(explain(inputOf({ events: [...BOOT_EVENTS, provider] })).tree);
    expect(text).toContain("key provider: x\\u{a}ok   evidence\\u{1b}[2K\\u{202e}");
  });

  it("is data: JSON holds all of it", () => {
    const { tree } = explain(inputOf({ platform: { tcbStatus: "SWHardeningNeeded" } }));
    expect(JSON.parse(JSON.stringify(tree))).toEqual(tree);
  });
});

describe("explain and strict verification", () => {
  const events = [...BOOT_EVENTS, runtimeEvent("app-id", new Uint8Array(20))];
  const cases: Record<string, ExplainInput> = {
    good: inputOf(),
    "untrusted root": inputOf({}, { anchors: [] }),
    "collateral not in date": inputOf({}, { now: NOW + 400 * 86_400 }),
    "time that is none": inputOf({}, { now: NaN }),
    "no image allowed": inputOf({}, { policy: withImage({ ...LAUNCH, rtmr2: register("x") }) }),
    "second app id": inputOf({ events }),
    "empty log": inputOf({}, { eventLog: "[]" }),
    "log that is none": inputOf({}, { eventLog: "{" }),
    "report data": inputOf({}, { reportData: new Uint8Array(64) }),
    "simulated and not allowed": inputOf({}, { policy: { ...POLICY, insecure_simulated_roots: [] } }),
    outdated: inputOf({ platform: { tcbStatus: "OutOfDate", tcbAdvisories: ["INTEL-SA-1"] } }),
    "old module": inputOf({ td: { teeTcbSvn: svns(5, 1, 3) } }),
    "unknown module": inputOf({
      td: { teeTcbSvn: svns(5, 9, 3) },
    }),
    "revoked PCK": inputOf({ platform: { revoked: ["pck"] } }),
    "bad QE": inputOf({ platform: { qe: { isvSvn: 0 } } }),
    denied: inputOf(
      {},
      { policy: { ...POLICY, denied_fmspc: ["00906ED50000"], allowed_ppid: ["0".repeat(32)] } },
    ),
  };
  const base = makeCase();
  for (const [name, at] of Object.entries(AT)) {
    cases[`flipped ${name}`] = inputOf({}, { quote: flip(base.quote, at) });
  }
  for (const name of Object.keys(base.collateral) as (keyof typeof base.collateral)[]) {
    cases[`no ${name}`] = inputOf({}, { collateral: { ...base.collateral, [name]: "" } });
  }
  cases["padded with ones"] = inputOf({}, { quote: put(new Uint8Array(8192), 0, base.quote).fill(1, 8000) });

  it.each(Object.entries(cases))("refuse the same for the same reason: %s", (name, input) => {
    const explanation = explain(input);
    const strict = strictRefusal(input);
    expect(firstRefusal(explanation)).toBe(strict);
    expect(verdictOf(explanation.tree)).toBe(strict === undefined ? "verified" : "refused");
    expect(strict === undefined, name).toBe(name === "good");
  });

  function withImage(launch: typeof LAUNCH): Policy {
    return { ...POLICY, images: { allow_all: false, allowed: [allowedImage("other", launch)] } };
  }
});

describe("what was not given is not passed", () => {
  const missing = { missing: "nobody gave it" };
  const unknown = (changes: Partial<ExplainInput>): string => {
    const { tree } = explain(inputOf({}, changes));
    expect(verdictOf(tree)).toBe("unknown");
    return leavesOf(tree, "skipped")
      .map((leaf) => `${leaf.check}: ${leaf.detail}`)
      .join("\n");
  };

  it("E8: without collateral there is no verdict", () => {
    expect(unknown({ collateral: missing })).toMatch(/^trusted root: nobody gave it$/m);
  });

  it("E1: without collateral a quote can still be refused, for its form or a root nobody trusts", () => {
    const { quote } = makeCase();
    for (const changes of [
      { anchors: [] },
      { quote: flip(quote, AT.teeType) },
      { quote: flip(quote, 2000) },
    ]) {
      const { tree } = explain(inputOf({}, { ...changes, collateral: missing }));
      expect(verdictOf(tree)).toBe("refused");
    }
  });

  it("E2: without an event log nobody knows which app runs", () => {
    expect(unknown({ eventLog: missing })).toBe(
      "event log: nobody gave it; without it nobody knows which app runs",
    );
  });

  it("E4: without report data to compare with the quote may be anybody's", () => {
    expect(unknown({ reportData: missing })).toMatch(/^report data: nobody gave it; it is [0-9a-f]{128}$/);
  });

  it("E9: an image that is not checked gives no verdict, though the policy accepts it", () => {
    const policy = { ...POLICY, images: { allow_all: true, allowed: [] } };
    expect(unknown({ policy })).toMatch(/^image: any is accepted, .*mrtd [0-9a-f]{96}/);
    expect(strictRefusal(inputOf({}, { policy }))).toBeUndefined();
  });

  it("E9: a policy that allows nothing is not evaluated", () => {
    const policy = { ...POLICY, images: { allow_all: false, allowed: [] } };
    expect(() => explain(inputOf({}, { policy }))).toThrow("allow_all = true");
  });
});

describe.skipIf(!haveVectors)("explain on a genuine quote", () => {
  it("E1, E9: verifies hardware and says what is missing", () => {
    const { quote, collateral, now } = genuine("tdx_quote_v4");
    const { tree } = explain({
      quote,
      collateral,
      now,
      anchors: [INTEL_ROOT],
      reportData: { missing: "unknown" },
      eventLog: { missing: "unknown" },
      policy: PolicyConfig.parse({ images: { allow_all: true } }),
    });
    expect(tree.outcome).toBe("skipped");
    expect(tree.children[0]?.outcome).toBe("pass");
    expect(leavesOf(tree, "skipped").map((leaf) => leaf.check)).toEqual([
      "report data",
      "event log",
      "image",
    ]);
  });

  it("E7: shows that a v5 quote fails at its TCB level, and only there", () => {
    const { quote, collateral, now } = genuine("tdx_quote_v5");
    const input = inputOf({}, { quote, collateral, now, anchors: [INTEL_ROOT] });
    expect(leavesOf(explain(input).tree, "fail").map((leaf) => leaf.code)).toEqual(["tcb_unsupported"]);
  });
});

describe("what a verdict says beside yes and no", () => {
  const told = (options: CaseOptions = {}, changes: Partial<ExplainInput> = {}): string =>
    formatTree(explain(inputOf(options, changes)).tree);

  it("tells what the host wrote into the TD, and no field that is zero", () => {
    expect(told()).toContain("MRCONFIGID, MROWNER and MROWNERCONFIG are zero");
    const mrOwner = Uint8Array.from({ length: 48 }, (_, i) => (i === 0 ? 0xab : 0));
    const mrConfigId = new Uint8Array(48).fill(1);
    const text = told({ td: { mrOwner, mrConfigId } });
    expect(text).toContain(`MRCONFIGID ${"01".repeat(48)}, MROWNER ab${"00".repeat(47)}`);
    expect(text).not.toContain("MROWNERCONFIG");
  });

  it("E9: says that RTMR0 is not checked where any will do, and only there", () => {
    const any = PolicyConfig.parse({
      images: { allowed: [{ ...allowedImage("dstack-test", LAUNCH), rtmr0: "any" }] },
      insecure_simulated_roots: ["root.pem"],
    });
    const unchecked = "skip       VM shape and ACPI tables: RTMR0 may be any";
    expect(told({}, { policy: any })).toContain(unchecked);
    expect(told()).not.toContain(unchecked);
  });

  it("E9: tells every register where any image will do", () => {
    const any = PolicyConfig.parse({ images: { allow_all: true }, insecure_simulated_roots: ["root.pem"] });
    const { mrtd, rtmr0, rtmr1, rtmr2 } = LAUNCH;
    const registers = `mrtd ${mrtd}, rtmr0 ${rtmr0}, rtmr1 ${rtmr1}, rtmr2 ${rtmr2}`;
    expect(told({}, { policy: any })).toContain(registers);
  });
});
