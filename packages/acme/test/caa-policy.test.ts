import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { type CaaPlan, planCaa, wantedCaa, whyCaaForbids } from "../src/caa/policy.js";
import { type CaaRecord, sameRecord } from "../src/dns/provider.js";

const name = "app.example.test";
const ours = { issuer: "letsencrypt.org", accountUri: "https://ca.test/acct/2" };
const old = { issuer: "letsencrypt.org", accountUri: "https://ca.test/acct/1" };
const stranger = { issuer: "letsencrypt.org", accountUri: "https://ca.test/acct/666" };
const otherCa = { issuer: "evil-ca.test", accountUri: "https://evil-ca.test/1" };
const issuers = new Set(["letsencrypt.org"]);
const caa = (tag: string, value: string, flags = 0): CaaRecord => ({ type: "CAA", name, flags, tag, value });
const wanted = wantedCaa(name, [ours]);

/** The records after each step, the beginning included. */
function history(existing: readonly CaaRecord[], plan: CaaPlan): CaaRecord[][] {
  const states = [[...existing]];
  for (const { do: action, record } of plan.steps) {
    const rest = (states.at(-1) ?? []).filter((other) => !sameRecord(other, record));
    states.push(action === "add" ? [...rest, record] : rest);
  }
  return states;
}

const anyRecord = fc.oneof(
  fc.constantFrom(...wantedCaa(name, [ours]), ...wantedCaa(name, [old])),
  fc.constantFrom(caa("issue", ";"), caa("issuewild", ";"), caa("issue", "letsencrypt.org")),
  fc.constantFrom(
    caa("iodef", "mailto:a@example.test"),
    caa("issuemail", "evil-ca.test"),
    caa("issue", "digicert.com"),
  ),
);
const anyRecords = fc.uniqueArray(anyRecord, { comparator: sameRecord });

describe("CAA records of the seed's form", () => {
  it("name CA, method and account for issue and issuewild", () => {
    const value = "letsencrypt.org;validationmethods=dns-01;accounturi=https://ca.test/acct/2";
    expect(wanted.map((record) => [record.flags, record.tag, record.value])).toEqual([
      [0, "issue", value],
      [0, "issuewild", value],
    ]);
  });
});

describe("changing CAA records", () => {
  it("C1: guards come first and go last, and an old account's records go", () => {
    const { steps } = planCaa(wantedCaa(name, [old]), wanted, issuers);
    expect(steps.map(({ do: action, why }) => `${action} ${why}`)).toEqual([
      "add guard",
      "add guard",
      "add wanted",
      "add wanted",
      "remove stale",
      "remove stale",
      "remove guard",
      "remove guard",
    ]);
  });

  it("C1: other accounts and other CAs may issue at no moment unless they could before", () => {
    fc.assert(
      fc.property(anyRecords, (existing) => {
        const states = history(existing, planCaa(existing, wanted, issuers));
        for (const wildcard of [false, true]) {
          for (const who of [stranger, otherCa]) {
            const couldBefore = whyCaaForbids(existing, who, wildcard) === undefined;
            const can = states.slice(1).filter((state) => whyCaaForbids(state, who, wildcard) === undefined);
            if (!couldBefore) expect(can).toEqual([]);
          }
        }
      }),
    );
  });

  it("C1: once the first guard stands, the name is never without a record that restricts issuing", () => {
    fc.assert(
      fc.property(anyRecords, (existing) => {
        for (const state of history(existing, planCaa(existing, wanted, issuers)).slice(2)) {
          expect(state.some(({ tag }) => tag === "issue")).toBe(true);
          expect(state.some(({ tag }) => tag === "issuewild")).toBe(true);
        }
      }),
    );
  });

  it("C1: stopped after any step, planning again ends in the same state, which needs no change", () => {
    fc.assert(
      fc.property(anyRecords, fc.nat(12), (existing, stop) => {
        const plan = planCaa(existing, wanted, issuers);
        const whole = history(existing, plan);
        const left = whole[Math.min(stop, whole.length - 1)] ?? [];
        const end = history(left, planCaa(left, wanted, issuers)).at(-1) ?? [];
        const text = (records: CaaRecord[]): string[] =>
          records.map((record) => JSON.stringify(record)).toSorted();
        expect(text(end)).toEqual(text(whole.at(-1) ?? []));
        expect(planCaa(end, wanted, issuers).steps).toEqual([]);
      }),
    );
  });

  it("C1: records of others are reported and never in a step", () => {
    const others = [
      caa("iodef", "mailto:a@example.test"),
      caa("issue", "digicert.com"),
      caa("issuemail", ";"),
    ];
    const { steps, foreign } = planCaa([...others, ...wantedCaa(name, [old])], wanted, issuers);
    expect(foreign).toEqual(others);
    expect(steps.filter(({ record }) => others.some((other) => sameRecord(other, record)))).toEqual([]);
  });
});

describe("whether CAA lets an account order (RFC 8659, RFC 8657)", () => {
  it.each([
    ["an empty set", [], undefined],
    ["no issue record", [caa("iodef", "mailto:a@b.test")], undefined],
    ["our records", wanted, undefined],
    ["a CA without account", [caa("issue", "LetsEncrypt.org")], undefined],
    ["spaces", [caa("issue", " letsencrypt.org ; validationmethods=http-01,dns-01 ")], undefined],
    ["nobody", [caa("issue", ";")], /nobody may issue/],
    ["another CA", [caa("issue", "digicert.com")], /only digicert\.com may issue/],
    ["another account", wantedCaa(name, [old]), /only account .*acct\/1 may order/],
    [
      "another method",
      [caa("issue", "letsencrypt.org;validationmethods=http-01")],
      /only validation by http-01/,
    ],
    ["an unknown critical record", [caa("tbs", "x", 128), ...wanted], /critical record of unknown kind/],
  ] as const)("%s", (_, set, reason) => {
    const said = whyCaaForbids(set, ours, false);
    if (reason === undefined) expect(said).toBeUndefined();
    else expect(said).toMatch(reason);
  });

  it("wildcards follow issuewild where there is one, else issue", () => {
    expect(whyCaaForbids([caa("issue", "letsencrypt.org")], ours, true)).toBeUndefined();
    expect(whyCaaForbids([caa("issue", "letsencrypt.org"), caa("issuewild", ";")], ours, true)).toMatch(
      /nobody/,
    );
    expect(
      whyCaaForbids([caa("issue", ";"), caa("issuewild", "letsencrypt.org")], ours, true),
    ).toBeUndefined();
  });
});
