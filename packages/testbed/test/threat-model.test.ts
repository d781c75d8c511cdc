import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const page = readFileSync(`${root}docs/threat-model.md`, "utf8");

interface Row {
  rule: string;
  code: string[];
  test: string;
}

const paths = (cell: string): string[] => [...cell.matchAll(/`([^`]+)`/g)].map(([, path = ""]) => path);
const rows: Row[] = [...page.matchAll(/^\| ([CEKGPT]\d+) \| [^|]+ \| ([^|]+) \| ([^|]+) \|$/gm)].map(
  ([, rule = "", code = "", test = ""]) => ({ rule, code: paths(code), test: paths(test)[0] ?? "" }),
);

describe("docs/threat-model.md", () => {
  it("has a row for every rule of the main path", () => {
    const named = rows.map((row) => row.rule);
    const wanted = [
      ...Array.from({ length: 12 }, (_, i) => `E${i + 1}`),
      ...[
        "K1",
        "K2",
        "K3",
        "K4",
        "K5",
        "G1",
        "G2",
        "G3",
        "G4",
        "G6",
        "T1",
        "T2",
        "T4",
        "C1",
        "C2",
        "C4",
        "C5",
      ],
    ];
    expect(wanted.filter((rule) => !named.includes(rule))).toEqual([]);
  });

  it.each(rows)(
    "$rule: the test it names exists and carries the rule's number in a test's name",
    ({ rule, code, test }) => {
      expect(readFileSync(root + test, "utf8")).toMatch(
        new RegExp(`["'\`][^"'\`\n]*\\b${rule}\\b[^"'\`\n]*[:,]`),
      );
      expect(code.length).toBeGreaterThan(0);
      expect(code.filter((path) => !existsSync(root + path))).toEqual([]);
    },
  );
});

it("docs/compatibility.md names tests that exist", () => {
  const text = readFileSync(`${root}docs/compatibility.md`, "utf8");
  const named = paths(text).filter((path) => /^(apps|packages)\//.test(path));
  expect(named.length).toBeGreaterThan(5);
  expect(named.filter((path) => !existsSync(root + path))).toEqual([]);
});
