import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { hex, utf8 } from "@dstack/core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { chart } from "../../src/dashboard/chart.js";
import { formatBytes, formatDuration } from "../../src/dashboard/format.js";
import { readablePayload } from "../../src/dashboard/payload.js";
import { Tail } from "../../src/dashboard/tail.js";
import { SystemHistory } from "../../src/system/history.js";

describe("payloads of events", () => {
  it.each([
    ["", { text: "", kind: "empty" }],
    [hex(utf8('{"name":"kms"}')), { text: '{"name":"kms"}', kind: "text" }],
    [hex(utf8("grüße\u0000")), { text: "grüße", kind: "text" }],
    [hex(Buffer.from("console=ttyS0\0", "utf16le")), { text: "console=ttyS0", kind: "text" }],
    ["00ff10", { text: "00ff10", kind: "hex" }],
    // Text that could turn or hide what stands around it is shown as the bytes it is.
    [hex(utf8("a\u202eb")), { text: hex(utf8("a\u202eb")), kind: "hex" }],
    [hex(utf8("a\u001b[31m")), { text: hex(utf8("a\u001b[31m")), kind: "hex" }],
  ])("reads %j", (payload, shown) => expect(readablePayload(payload)).toEqual(shown));

  it("shows long ones by their beginning", () => {
    expect(readablePayload("61".repeat(4096)).text).toBe(`${"a".repeat(512)}…`);
  });
});

describe("the newest part of a text", () => {
  it("keeps what fits and says that it dropped something", () => {
    const tail = new Tail(10);
    for (const piece of ["aaaa", "bbbb"]) tail.push(piece);
    expect([[...tail.pieces()], tail.dropped]).toEqual([["aaaa", "bbbb"], false]);
    tail.push("cccc");
    expect([[...tail.pieces()], tail.dropped]).toEqual([["bbbb", "cccc"], true]);
    tail.push("d".repeat(100));
    expect([...tail.pieces()]).toEqual(["d".repeat(100)]);
  });
});

describe("numbers", () => {
  it.each([
    [0n, "0 bytes"],
    [1536n, "1.5 KiB"],
    [2n * 2n ** 30n, "2.0 GiB"],
    [20n * 2n ** 30n, "20 GiB"],
  ])("%s bytes are %s", (bytes, text) => expect(formatBytes(bytes)).toBe(text));

  it.each([
    [59.9, "59 s"],
    [61, "1 min"],
    [3 * 3600 + 120, "3 h 2 min"],
    [50 * 3600, "2 d 2 h"],
  ])("%s seconds are %s", (seconds, text) => expect(formatDuration(seconds)).toBe(text));
});

describe("a chart", () => {
  it("puts each point at its time, the newest at the right, and stays within its frame", () => {
    const points = [
      { at: -60_001, value: 9 },
      { at: 0, value: 0 },
      { at: 30_000, value: 0.5 },
      { at: 60_000, value: 7 },
    ];
    const { text } = chart({ title: "Load", points, spanMs: 120_000, max: 1, format: String });
    expect(text).toContain('points="300,100 450,50 600,0"');
    expect(text).toContain('aria-label="Load: 7 now, 7 at most within 2 min"');
  });

  it("says so when there is nothing yet", () => {
    expect(chart({ title: "Load", points: [], spanMs: 1, max: 1, format: String }).text).toContain(
      "first values",
    );
  });
});

describe("the last minutes", () => {
  let proc: string;
  beforeAll(async () => {
    proc = await mkdtemp(join(tmpdir(), "tappd-history-"));
  });
  afterAll(() => rm(proc, { recursive: true, force: true }));

  const machine = async (busy: number, idle: number): Promise<void> => {
    await mkdir(proc, { recursive: true });
    await writeFile(join(proc, "stat"), `cpu  ${busy} 0 0 ${idle} 0 0 0 0 9 9\ncpu0 1 1 1 1\n`);
    await writeFile(join(proc, "meminfo"), "MemTotal: 1000 kB\nMemAvailable: 250 kB\n");
    await writeFile(join(proc, "loadavg"), "1.50 0.5 0.2 1/100 1\n");
  };

  it("are the processors' busy share between two looks, memory and load", async () => {
    const history = new SystemHistory({ proc, osRelease: "" });
    await machine(100, 100);
    await history.take();
    expect(history.samples).toEqual([]);
    await machine(130, 110);
    await history.take();
    expect(history.samples).toEqual([
      { at: expect.any(Number) as number, cpu: 0.75, memory: 0.75, load: 1.5 },
    ]);
  });

  it("are bounded, whatever the machine says", async () => {
    const history = new SystemHistory({ proc, osRelease: "" });
    for (let look = 0; look < 200; look += 1) await history.take();
    expect(history.samples).toHaveLength(120);
    expect(history.samples.at(-1)?.cpu).toBe(0);
    await writeFile(join(proc, "stat"), "nonsense");
    await history.take();
    expect(history.samples).toHaveLength(120);
  });
});
