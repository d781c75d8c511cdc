import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";

const root = join(import.meta.dirname, "../../../..");
const page = readFileSync(join(import.meta.dirname, "README.md"), "utf8");
const rows = [...page.matchAll(/^\| (.+?) \| `([^`]+)` "(.+?)" \|$/gm)].map(
  ([, attack = "", file = "", test = ""]) => ({
    attack,
    file,
    test,
  }),
);

describe("attacks/README.md", () => {
  it("names a test for every rule", () => {
    const rules = rows.map(({ attack }) => attack.split(" ")[0]);
    const wanted = [
      ...Array.from({ length: 14 }, (_, i) => `E${i + 1}`),
      ...Array.from({ length: 7 }, (_, i) => `K${i + 1}`),
    ];
    expect(rules.slice(0, wanted.length)).toEqual(wanted);
    expect(rows.length).toBeGreaterThan(50);
  });

  it.each(rows)("$attack: the test it names is there", ({ file, test }) => {
    expect(readFileSync(join(root, file), "utf8")).toContain(test);
  });
});
