import { describe, expect, it } from "vitest";
import { parseContainerName } from "../../src/docker/container-name.js";
import { parseLogQuery } from "../../src/docker/log-query.js";

const NOW = 1_700_000_000;

describe("log query", () => {
  it.each([
    ["", NOW - 3600],
    [undefined, NOW - 3600],
    ["0", 0],
    ["1699999999.5", 1_699_999_999.5],
    ["90s", NOW - 90],
    ["1h30m", NOW - 5400],
    ["2d", NOW - 172_800],
    ["999999999d", 0],
  ])("since=%s is %s", (since, expected) => {
    expect(parseLogQuery({ since }, NOW).since).toBe(expected);
  });

  it.each([
    [undefined, 0],
    ["0", 0],
    ["10m", NOW - 600],
    ["999999999d", 1], // 0 would mean no end
  ])("until=%s is %s", (until, expected) => {
    expect(parseLogQuery({ until }, NOW).until).toBe(expected);
  });

  it.each(["h", "1w", "-1", "1h2", "1e3", " 1", "1h1h1h1h1h", "9999999999999"])(
    "refuses the time %j",
    (since) => {
      expect(() => parseLogQuery({ since }, NOW)).toThrow(/^since must be/);
    },
  );

  it.each([
    ["", true],
    ["true", true],
    ["1", true],
    ["false", false],
    ["0", false],
    [undefined, false],
  ])("follow=%j is %s", (follow, expected) => {
    expect(parseLogQuery({ follow }, NOW).follow).toBe(expected);
  });

  it.each([
    [undefined, "all"],
    ["all", "all"],
    ["0", 0],
    ["10000000", 10_000_000],
  ])("tail=%s is %s", (tail, expected) => {
    expect(parseLogQuery({ tail }, NOW).tail).toBe(expected);
  });

  it.each(["10000001", "1.5", "some", "0x10"])("refuses tail=%s", (tail) => {
    expect(() => parseLogQuery({ tail }, NOW)).toThrow(/^tail must be/);
  });
});

describe("container name", () => {
  it.each(["web", "app-web-1", "a".repeat(64), "x_y.z"])("takes %s", (name) => {
    expect(parseContainerName(name)).toBe(name);
  });
  it.each(["", ".", "..", "a/b", "a?b", "a#b", "a b", "a%2f", "ü", "a\n", "a".repeat(256)])(
    "refuses %j",
    (name) => {
      expect(() => parseContainerName(name)).toThrow();
    },
  );
});
