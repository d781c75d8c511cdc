import { describe, expect, it } from "vitest";
import { iso, requireInDate } from "../src/period.js";
import { codeOf } from "./support/platform.js";

const verdict = (now: number, ...periods: [from: number, to: number][]): string =>
  codeOf(() =>
    requireInDate(
      periods.map(([from, to]) => ({ what: "list", from, to })),
      now,
    ),
  );

describe("E8: what is in date", () => {
  it("is so with both ends, in every period", () => {
    expect([9, 10, 20, 21].map((now) => verdict(now, [10, 20]))).toEqual([
      "not_in_date",
      "accepted",
      "accepted",
      "not_in_date",
    ]);
    expect(verdict(15, [10, 20], [16, 30])).toBe("not_in_date");
    expect(verdict(15, [16, 30], [10, 20])).toBe("not_in_date");
    expect(verdict(18, [10, 20], [16, 30])).toBe("accepted");
  });

  it.each([NaN, Infinity, -Infinity, -1, 1.5, 2 ** 53])("is nothing at %d, which is no time", (now) => {
    expect(verdict(now)).toBe("input_invalid");
    expect(verdict(now, [-1e300, 1e300])).toBe("input_invalid");
  });

  it("can be judged at the first second of all", () => expect(verdict(0, [0, 0])).toBe("accepted"));

  it("is told with its time", () => {
    expect(iso(1_772_366_400)).toBe("2026-03-01T12:00:00Z");
    expect(() => requireInDate([{ what: "list", from: 10, to: 20 }], 21)).toThrow(
      "the list was valid until 1970-01-01T00:00:20Z, it is 1970-01-01T00:00:21Z",
    );
    expect(() => requireInDate([{ what: "list", from: 10, to: 20 }], 9)).toThrow(
      "the list is not valid before 1970-01-01T00:00:10Z, it is 1970-01-01T00:00:09Z",
    );
  });
});
