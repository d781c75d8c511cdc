import { readFile, stat } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const root = fileURLToPath(new URL("../../..", import.meta.url));
const document = await readFile(`${root}/docs/compatibility.md`, "utf8");
const rows = document
  .split("\n")
  .filter((line) => /^\| (?!there \||---)/.test(line))
  // A bar in code is the code's.
  .map((line) =>
    line
      .replaceAll(/`[^`]*`/g, (code) => code.replaceAll("|", ""))
      .split("|")
      .slice(1, -1),
  );

describe("docs/compatibility.md", () => {
  it("says for each line what shows it, or that nothing does", () => {
    expect(rows.length).toBeGreaterThan(30);
    for (const row of rows) {
      expect(row, String(row[0])).toHaveLength(3);
      expect(row[2], String(row[0])).toMatch(
        /walkthrough|quickstart|custom domain|scripts\/test|\.test\.ts|not tested|only without TDX/,
      );
    }
  });

  it("names tests that are there", async () => {
    const named = new Set(document.match(/`[\w/.-]+\.(?:test|e2e)\.ts`/g));
    expect(named.size).toBeGreaterThan(20);
    for (const name of named) await stat(`${root}/${name.slice(1, -1)}`);
  });
});
