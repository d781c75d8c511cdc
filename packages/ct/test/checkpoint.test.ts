import { hex } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { logIdOf, originOf, parseCheckpoint, verifyTreeHead } from "../src/index.js";

/** A log that the program Sunlight keeps for its own tests, and the checkpoint it signed there. */
const KEY =
  "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEPIcer7RB32jt4bTEbhgUKLKvOctFD+I2hoDItFxUBlJiGFvftBuRk3fO7e1T7gC2ekyfL7XoO2oN/ObcZyc4EA==";
const SUBMISSION_URL = "https://rome2026h1.example.org/";
const BODY = `rome2026h1.example.org
300
lCkHUpkmVBEms2r2T1K6Og69+wUuuN3MIEW1/ezu2v0=
`;
const GREASE = "— grease.invalid lbCd1oRYil3zhIcUyx7k+ANsprx2of9ipxX34IkV\n";
const SIGNATURE =
  "— rome2026h1.example.org kVB1JgAAAZtxtEwABAMARzBFAiEAi+mTa2xjL1IdWpH82OeciGsGvwRAP+f1WkfKaSZCfFECIHoNPZ/Q3y6UNzvKOO9cuLr6V16vPNfhwhle9f6r5H/Z\n";
const CHECKPOINT = `${BODY}\n${GREASE}${SIGNATURE}`;

const { key, id } = logIdOf(KEY);
const log = { origin: originOf(SUBMISSION_URL), id };

describe("C3: checkpoint of a tiled log", () => {
  it("is the tree head that the log signed", () => {
    const head = parseCheckpoint(CHECKPOINT, log);
    expect(head).toMatchObject({ size: 300, timestamp: 1_767_139_200_000 });
    expect(hex(head.root)).toBe("942907529926541126b36af64f52ba3a0ebdfb052eb8ddcc2045b5fdeceedafd");
    expect(verifyTreeHead(head, key)).toBe(true);
    for (const [what, by] of [
      ["\n300\n", "\n301\n"],
      ["lCkH", "mCkH"],
      ["AAAZtxtEwA", "AAAZtxtEwB"],
    ] as const) {
      expect(verifyTreeHead(parseCheckpoint(CHECKPOINT.replace(what, by), log), key)).toBe(false);
    }
  });

  it("is found among signatures of others, and of other kinds under the same name", () => {
    const own = SIGNATURE.replace("kVB1J", "AAAAA");
    expect(parseCheckpoint(`${BODY}\n${own}${GREASE}${SIGNATURE}`, log).size).toBe(300);
  });

  it.each([
    ["no signature of the log", `${BODY}\n${GREASE}`, /has not signed it/],
    [
      "another key",
      CHECKPOINT,
      /has not signed it/,
      logIdOf(
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAESYlKFDLLFmA9JScaiaNnqlU8oWDytxIYMfswHy9Esg0aiX+WnP/yj4O0ViEHtLwbmOQeSWBGkIu9YK9CLeer+g==",
      ).id,
    ],
    ["another log", CHECKPOINT.replaceAll("2026h1", "2026h2"), /is of the log/],
    ["no signatures at all", BODY, /three lines/],
    ["an extension line", CHECKPOINT.replace("2v0=\n", "2v0=\nextension\n"), /three lines/],
    ["a size that is none", CHECKPOINT.replace("\n300\n", "\n-1\n"), /not a size/],
    ["a size beyond all trees", CHECKPOINT.replace("\n300\n", "\n9999999999999999\n"), /not a size/],
    ["a root of another length", CHECKPOINT.replace("lCkHUpkm", ""), /not a hash/],
    ["a page", "<!doctype html>\n\n<p>not found</p>", /three lines|is of the log/],
    ["nothing", "", /three lines/],
  ])("is refused: %s", (_, text, reason, otherId = id) => {
    expect(() => parseCheckpoint(text, { ...log, id: otherId })).toThrow(reason);
  });
});
