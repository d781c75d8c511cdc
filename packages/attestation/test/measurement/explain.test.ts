import { hex, sha384 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import {
  computeMeasurements,
  differenceLines,
  explainMeasurements,
  parseObserved,
  parseQuote,
  qemuBehaviour,
} from "../../src/index.js";
import type { EventLogEntry, Launch, Observed } from "../../src/index.js";
import { makeCase } from "../support/platform.js";
import { makeFirmware, makeKernel, noise, ovmfSections } from "./files.js";

const launch: Launch = {
  firmware: makeFirmware(),
  kernel: makeKernel(),
  initrd: noise(5000, 9),
  cmdline: "console=ttyS0",
  memoryMib: 2048,
  host: qemuBehaviour("10.1"),
};

/** The log a VM with this start would have. */
function logOf(started: Partial<Launch> = {}): EventLogEntry[] {
  return computeMeasurements({ ...launch, ...started }).events.map((event, i) => ({
    imr: event.imr,
    event_type: event.eventType,
    digest: event.digest ?? hex(sha384(`ACPI of this host ${i}`)),
    event: "",
    event_payload: "",
  }));
}

function bodyOf(log: readonly EventLogEntry[], started: Partial<Launch> = {}): NonNullable<Observed["body"]> {
  const { mrtd, rtmr0, rtmr1, rtmr2 } = computeMeasurements({ ...launch, ...started }, log);
  const bytes = (value: string | undefined) => new Uint8Array(Buffer.from(value ?? "", "hex"));
  const { body } = parseQuote(makeCase().quote);
  return { ...body, mrTd: bytes(mrtd), rtmr: [bytes(rtmr0), bytes(rtmr1), bytes(rtmr2), new Uint8Array(48)] };
}

/** The first line of the explanation. */
function explanation(
  log: readonly EventLogEntry[],
  body?: Observed["body"],
  expected: Partial<Launch> = {},
): string {
  const { difference } = explainMeasurements({ ...launch, ...expected }, { log, body });
  return difference === undefined ? "no difference" : (differenceLines(difference)[0] ?? "");
}

const at = (index: number, change: Partial<EventLogEntry>): EventLogEntry[] =>
  logOf().map((entry, i) => (i === index ? { ...entry, ...change } : entry));
const first: EventLogEntry = {
  imr: 0,
  event_type: 0,
  event: "",
  event_payload: "",
  digest: hex(sha384("first")),
};
const other = { digest: hex(sha384("something else")) };

describe("explainMeasurements", () => {
  it("finds no difference between an image and its own start, whatever the ACPI tables", () => {
    const log = logOf();
    const { difference, computed } = explainMeasurements(launch, { log, body: bodyOf(log) });
    expect(difference).toBeUndefined();
    expect([computed?.acpi, computed?.memory]).toEqual(["log", "given"]);
    expect(explanation(log, bodyOf(log), { memoryMib: undefined })).toBe("no difference");
  });

  it.each<[string, Partial<Launch>]>([
    [
      'RTMR2 event 1: the command line differs: it is not "console=ttyS0"',
      { cmdline: "console=ttyS0 init=/bin/sh" },
    ],
    ["RTMR2 event 2: the initial RAM disk differs", { initrd: noise(5000, 8) }],
    ["RTMR1 event 1: the kernel differs", { kernel: makeKernel({ trailing: 8 }) }],
    ["RTMR0 event 1: the VM has 4096 MiB of memory, not 2048", { memoryMib: 4096 }],
    [
      "RTMR0 event 2: the firmware's store of variables differs: another firmware file, or one in which variables were set",
      { firmware: makeFirmware(noise(8192, 7)) },
    ],
    [
      "RTMR0 event 1: the list of memory fits no usual memory size: another firmware, or a machine that is no q35",
      {
        firmware: makeFirmware(
          noise(8192, 1),
          16_384,
          ovmfSections(8192, 16_384).map((s) => (s.type === 2 ? { ...s, length: 0x1000 } : s)),
        ),
      },
    ],
  ])("says: %s", (sentence, started) => expect(explanation(logOf(started))).toBe(sentence));

  it("tells the image's kernel from another one when QEMU is older or newer than said", () => {
    const host = qemuBehaviour("9.2");
    expect(explanation(logOf({ host }))).toMatch(
      /^RTMR1 event 1: the kernel is the image's, but with QEMU's entries/,
    );
    expect(explanation(logOf(), undefined, { host })).toMatch(
      /^RTMR1 event 1: the kernel is the image's own file/,
    );
    const strange = makeKernel({ protocol: 0x200 });
    expect(explanation(logOf(), undefined, { kernel: strange })).toBe("RTMR1 event 1: the kernel differs");
  });

  it.each<[string, EventLogEntry[]]>([
    ["RTMR0 event 3: the EFI variable SecureBoot differs", at(2, other)],
    ["RTMR0 event 8: separator differs, which is the same in every start", at(7, other)],
    ["RTMR0 event 12: BootOrder differs", at(11, other)],
    ["RTMR0 event 9: separator stands where ACPI table loader was expected", at(8, { event_type: 4 })],
    ["RTMR1 event 2: the log ends here", logOf().slice(0, 14)],
    ["RTMR2 event 3: EFI program follows", [...logOf(), { ...first, imr: 2, event_type: 0x80000003 }]],
    ["RTMR0 event 1: the log ends here", []],
  ])("says: %s …", (start, log) => expect(explanation(log).slice(0, start.length)).toBe(start));

  it("knows a firmware that measures more", () => {
    const payload = hex(Buffer.from("QEMU FW CFG\0BootMenu\0"));
    const log = logOf();
    log.splice(2, 0, { imr: 0, event_type: 0xa, digest: other.digest, event: "", event_payload: payload });
    expect(explanation(log)).toBe(
      'RTMR0 event 3: platform configuration "QEMU FW CFG" stands where SecureBoot was expected: the firmware is of edk2 ' +
        "2025.05 or later, whose events are not known here",
    );
  });

  it("knows the simulated platform", () => {
    expect(explanation(at(0, { ...other, event: "td-hob" }))).toMatch(
      /^RTMR0 event 1: the log is of the simulated platform/,
    );
  });

  it("looks at MRTD first, and knows the order of QEMU 8", () => {
    const log = logOf();
    const wrong = { ...bodyOf(log), mrTd: new Uint8Array(48) };
    expect(explanation(log, wrong)).toBe("MRTD: the firmware is not the image's");
    const eight = { pageOrder: "pages-then-contents", kernel: "as-is" } as const;
    expect(explanation(log, bodyOf(log, { host: eight }))).toMatch(
      /^MRTD: the firmware is the image's, but the host/,
    );
  });

  it("says when the log is right and not the quote's", () => {
    const log = logOf();
    const { rtmr, ...body } = bodyOf(log);
    const zero = new Uint8Array(48);
    expect(explanation(log, { ...body, rtmr: [rtmr[0], rtmr[1], rtmr[2], zero.fill(1)] })).toMatch(
      /^RTMR3: the events are as/,
    );
    expect(explanation(log, { ...body, rtmr: [zero, rtmr[1], rtmr[2], new Uint8Array(48)] })).toMatch(
      /^RTMR0: the events are/,
    );
  });

  it("prints nothing that a terminal would obey", () => {
    const payload = hex(Buffer.from("\x1b[2J\u0007"));
    const log = at(2, { event_type: 0x80000007, event_payload: payload });
    expect(explanation(log)).toContain('EFI action "?[2J?" stands where');
  });
});

describe("parseObserved", () => {
  const log = logOf();
  const bytes = (value: unknown): Uint8Array => new TextEncoder().encode(JSON.stringify(value));
  const quote = hex(makeCase().quote);

  it("reads a log, and a quote with a log as text or as array", () => {
    expect(parseObserved(bytes(log))).toEqual({ log });
    for (const event_log of [log, JSON.stringify(log)]) {
      const observed = parseObserved(bytes({ quote, event_log, platform: "tdx" }));
      expect(observed.log).toEqual(log);
      expect(observed.body?.mrTd).toHaveLength(48);
    }
  });

  it.each([
    ["an object without quote", bytes({ event_log: log }), /no fields quote and event_log/],
    ["an object that is none", new TextEncoder().encode("{quote"), /starts as JSON/],
    ["a quote that is no hex", bytes({ quote: "zz", event_log: log }), /quote must be hex/],
    ["text", new TextEncoder().encode("x".repeat(100)), /Spec ID/],
    ["nothing", new Uint8Array(), /bytes/],
  ])("refuses %s", (_name, file, message) => expect(() => parseObserved(file)).toThrow(message));
});
