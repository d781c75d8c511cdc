import { describe, expect, it } from "vitest";
import { readQeIdentity, readTcbInfo } from "../src/tcb-documents.js";
import { codeOf, makeCase } from "./support/platform.js";

const { collateral } = makeCase();
/** Everything is a value or an object of values: what Intel publishes, to be changed in any way. */
type Json = { [name: string]: Json } & { length: number; push(value: unknown): void; pop(): unknown };
type Edit = (document: Json, set: (at: Json | undefined, name: string, value: unknown) => void) => void;

function edited(text: string, edit: Edit): string {
  const document = JSON.parse(text) as Json;
  edit(document, (at, name, value) => void Object.assign(at ?? {}, { [name]: value }));
  return JSON.stringify(document);
}
const tcbInfo = (edit: Edit): string => codeOf(() => readTcbInfo(edited(collateral.tcb_info, edit)));
const qeIdentity = (edit: Edit): string => codeOf(() => readQeIdentity(edited(collateral.qe_identity, edit)));

/** A field's way, the values that are good there, and the ones that are not. */
type Field = readonly [path: string, good: readonly unknown[], bad: readonly unknown[]];

const hex = (bytes: number): Field[1] => ["0".repeat(2 * bytes), "aB".repeat(bytes)];
const notHex = (bytes: number): Field[2] => [
  "0".repeat(2 * bytes - 1),
  "0".repeat(2 * bytes + 1),
  "0".repeat(2 * bytes + 2),
  `g${"0".repeat(2 * bytes - 1)}`,
  `${"0".repeat(2 * bytes)}\n`,
  0,
  undefined,
];
const bytes = (path: string, count: number): Field => [path, hex(count), notHex(count)];
const whole = (path: string, max: number): Field => [
  path,
  [0, max],
  [-1, max + 1, 0.5, "1", null, undefined],
];
const time = (path: string): Field => [
  path,
  ["2024-02-29T12:00:00Z"],
  ["2023-02-29T12:00:00Z", "2024-02-29", "2024-02-29T12:00:00.000Z", "now", 0, undefined],
];
const advisories = (path: string): Field => [
  path,
  [[], undefined, ["x".repeat(64)], Array.from({ length: 256 }, () => "x")],
  [null, "x", [0], ["x".repeat(65)], Array.from({ length: 257 }, () => "x")],
];
const enclaveStatus = (path: string): Field => [
  path,
  ["UpToDate", "OutOfDate", "Revoked"],
  ["SWHardeningNeeded", "ConfigurationNeeded", "uptodate", "", undefined],
];
const components = (count: number): { svn: number }[] => Array.from({ length: count }, () => ({ svn: 1 }));
const DATES = [
  time("issueDate"),
  time("nextUpdate"),
  whole("tcbEvaluationDataNumber", Number.MAX_SAFE_INTEGER),
];

function at(document: Json, path: string): { parent: Json | undefined; name: string } {
  const names = path.split(".");
  const name = names.pop() ?? "";
  return { parent: names.reduce<Json | undefined>((value, key) => value?.[key], document), name };
}

function table(fields: readonly Field[], verdict: (edit: Edit) => string): void {
  it.each(fields)("%s", (path, good, bad) => {
    const codeWith = (value: unknown): string =>
      verdict((document, set) => {
        const { parent, name } = at(document, path);
        set(parent, name, value);
      });
    for (const value of good) expect(codeWith(value), JSON.stringify(value)).toBe("accepted");
    for (const value of bad) expect(codeWith(value), JSON.stringify(value)).toBe("collateral_malformed");
  });
}

describe("E11: each field of TCB info", () => {
  table(
    [
      ["id", ["TDX"], ["SGX", "tdx", undefined]],
      ["version", [3], [2, 4, "3", undefined]],
      ["tcbType", [0], [1, "0", undefined]],
      bytes("fmspc", 6),
      bytes("pceId", 2),
      ...DATES,
      ["tdxModule", [], [undefined, null, {}]],
      bytes("tdxModule.mrsigner", 48),
      bytes("tdxModule.attributes", 8),
      bytes("tdxModule.attributesMask", 8),
      ["tdxModuleIdentities", [[], undefined], [null, {}, [{}]]],
      bytes("tdxModuleIdentities.0.mrsigner", 48),
      bytes("tdxModuleIdentities.0.attributes", 8),
      bytes("tdxModuleIdentities.0.attributesMask", 8),
      ["tdxModuleIdentities.0.id", ["TDX_03", ""], [3, undefined]],
      ["tdxModuleIdentities.0.tcbLevels", [[]], [undefined, [{}]]],
      whole("tdxModuleIdentities.0.tcbLevels.0.tcb.isvsvn", 65_535),
      time("tdxModuleIdentities.0.tcbLevels.0.tcbDate"),
      enclaveStatus("tdxModuleIdentities.0.tcbLevels.0.tcbStatus"),
      advisories("tdxModuleIdentities.0.tcbLevels.0.advisoryIDs"),
      ["tcbLevels", [[]], [undefined, {}, [{}]]],
      [
        "tcbLevels.0.tcb.sgxtcbcomponents",
        [components(16)],
        [components(15), components(17), [], undefined, components(16).fill({} as { svn: number })],
      ],
      ["tcbLevels.0.tcb.tdxtcbcomponents", [components(16)], [components(15), components(17), undefined]],
      whole("tcbLevels.0.tcb.sgxtcbcomponents.15.svn", 255),
      whole("tcbLevels.0.tcb.tdxtcbcomponents.0.svn", 255),
      whole("tcbLevels.0.tcb.pcesvn", 65_535),
      time("tcbLevels.0.tcbDate"),
      ["tcbLevels.0.tcbStatus", ["ConfigurationAndSWHardeningNeeded", "Revoked"], ["Fine", "", undefined]],
      advisories("tcbLevels.0.advisoryIDs"),
    ],
    tcbInfo,
  );

  it("may stand beside fields that nobody judges by", () => {
    expect(tcbInfo((document, set) => set(document, "comment", {}))).toBe("accepted");
  });

  it("is read in one form", () => {
    const text = edited(collateral.tcb_info, (document, set) => {
      set(document, "fmspc", "abcdefabcdef");
      set(document, "pceId", "00ff");
      set(document, "tdxModuleIdentities", undefined);
      set(document["tcbLevels"]?.["0"], "advisoryIDs", undefined);
    });
    const info = readTcbInfo(text);
    expect(info).toMatchObject({ fmspc: "ABCDEFABCDEF", pceId: "00FF", tdxModuleIdentities: [] });
    expect(info.tcbLevels[0]?.advisoryIDs).toEqual([]);
  });
});

describe("E11: each field of the QE identity", () => {
  table(
    [
      ["id", ["TD_QE"], ["QE", undefined]],
      ["version", [2], [1, "2", undefined]],
      bytes("miscselect", 4),
      bytes("miscselectMask", 4),
      bytes("attributes", 16),
      bytes("attributesMask", 16),
      bytes("mrsigner", 32),
      ...DATES,
      whole("isvprodid", 65_535),
      ["tcbLevels", [[]], [undefined, [{}]]],
      whole("tcbLevels.0.tcb.isvsvn", 65_535),
      time("tcbLevels.0.tcbDate"),
      enclaveStatus("tcbLevels.0.tcbStatus"),
      advisories("tcbLevels.0.advisoryIDs"),
    ],
    qeIdentity,
  );

  it.each(["", "{", "null", "[]", "{}", '"TD_QE"'])("is nothing in %j", (text) => {
    expect(codeOf(() => readQeIdentity(text))).toBe("collateral_malformed");
  });

  it("E11: says what is wrong, and where", () => {
    expect(() => readQeIdentity("{")).toThrow("reading QE identity: it is not JSON");
    const wrong: Edit = (document, set) => set(document["tcbLevels"]?.["0"], "tcbStatus", "Fine");
    expect(() => readQeIdentity(edited(collateral.qe_identity, wrong))).toThrow(
      /^reading QE identity: tcbLevels\.0\.tcbStatus: /,
    );
    const late: Edit = (document, set) => set(document, "nextUpdate", "soon");
    expect(() => readQeIdentity(edited(collateral.qe_identity, late))).toThrow(
      "reading QE identity: nextUpdate: not a time",
    );
  });
});
