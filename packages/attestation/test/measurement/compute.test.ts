import { concatBytes, hex, sha384 } from "@dstack/core";
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { computeMeasurements, parseCcel, parseQuote, qemuBehaviour } from "../../src/index.js";
import type { EventLogEntry, Launch } from "../../src/index.js";
import { haveVectors, vector } from "../support/vectors.js";
import { makeFirmware, makeKernel, noise } from "./files.js";

const launch: Launch = {
  firmware: makeFirmware(),
  kernel: makeKernel(),
  initrd: noise(5000, 9),
  cmdline: "console=ttyS0 dstack.rootfs_hash=00",
  memoryMib: 2048,
  host: qemuBehaviour("10.1"),
};

const acpi = (text: string): EventLogEntry => ({
  imr: 0,
  event_type: 0xa,
  digest: hex(sha384(text)),
  event: "",
  event_payload: hex(Buffer.from("ACPI DATA")),
});
const acpiLog = [acpi("loader"), acpi("rsdp"), acpi("tables")];

const extend = (...digests: Uint8Array[]): string =>
  hex(digests.reduce((register, digest) => sha384(register, digest), new Uint8Array(48)));

describe("computeMeasurements", () => {
  it("measures command line and initial RAM disk into RTMR2", () => {
    const options = Buffer.from(`${launch.cmdline} initrd=initrd\0`, "utf16le");
    expect(computeMeasurements(launch).rtmr2).toBe(extend(sha384(options), sha384(launch.initrd)));
  });

  it("leaves RTMR0 open without a log, and takes the ACPI digests of one", () => {
    const alone = computeMeasurements(launch);
    expect([alone.rtmr0, alone.acpi, alone.memory]).toEqual([undefined, "unknown", "given"]);
    const withLog = computeMeasurements(launch, acpiLog);
    expect([withLog.acpi, withLog.memory, withLog.memoryMib]).toEqual(["log", "given", 2048]);
    const other = computeMeasurements(launch, [acpi("loader"), acpi("rsdp"), acpi("other tables")]);
    expect(other.rtmr0).not.toBe(withLog.rtmr0);
    expect([other.mrtd, other.rtmr1, other.rtmr2]).toEqual([withLog.mrtd, withLog.rtmr1, withLog.rtmr2]);
  });

  it("takes the memory out of a log when nobody gives it", () => {
    const { events, rtmr0 } = computeMeasurements(launch, acpiLog);
    const hob = { ...acpi(""), event_type: 0x8000000b, digest: events[0]?.digest ?? "" };
    const found = computeMeasurements({ ...launch, memoryMib: undefined }, [hob, ...acpiLog]);
    expect([found.memory, found.memoryMib, found.rtmr0]).toEqual(["log", 2048, rtmr0]);
    const unknown = computeMeasurements({ ...launch, memoryMib: undefined }, acpiLog);
    expect([unknown.memory, unknown.rtmr0]).toEqual(["unknown", undefined]);
  });

  it.each([0, 2, 4])("refuses a log with %i ACPI events", (count) => {
    const log = Array.from({ length: count }, () => acpi("x"));
    expect(() => computeMeasurements(launch, log)).toThrow(new RegExp(`has ${count} events`));
  });

  it.each(["rootfs=é", "a\nb", "a\0b"])(
    "refuses the command line %j, which would not arrive unchanged",
    (cmdline) => {
      expect(() => computeMeasurements({ ...launch, cmdline })).toThrow(/printable ASCII/);
    },
  );

  it("depends on QEMU's version in MRTD below 9 and in RTMR1 below 10", () => {
    const of = (version: string) => computeMeasurements({ ...launch, host: qemuBehaviour(version) });
    const [v8, v9, v10, v11] = [of("8.2.2"), of("9.1"), of("10.1.0"), of("11")];
    expect(v8.mrtd).not.toBe(v9.mrtd);
    expect(v9.mrtd).toBe(v10.mrtd);
    expect(v8.rtmr1).toBe(v9.rtmr1);
    expect(v9.rtmr1).not.toBe(v10.rtmr1);
    expect(v10).toEqual(v11);
    const unknownMemory = { ...launch, memoryMib: undefined };
    expect(computeMeasurements({ ...unknownMemory, host: qemuBehaviour("9.1") }).rtmr1).toBeUndefined();
    expect(computeMeasurements(unknownMemory).rtmr1).toBe(v10.rtmr1);
  });

  it.each(["7.2", "", "10.1-rc0", "1e1", "10.1.2.3", "-9"])("refuses QEMU %j", (version) => {
    expect(() => qemuBehaviour(version)).toThrow(/no TDX/);
  });

  // From a second implementation in Python, over the same bytes.
  it("FROZEN: gives these registers", () => {
    const { mrtd, rtmr0, rtmr1, rtmr2 } = computeMeasurements(launch, acpiLog);
    expect({ mrtd, rtmr0, rtmr1, rtmr2 }).toEqual({
      mrtd: "f05a3ba73560a0abe4a0d66e95db4f12fc455b37d1fb17dbb8b62d819b23be9fe93f31a0e2ec589ac56408d3fb934133",
      rtmr0:
        "ca68e8a485ec70fe8d8be636c77475415fc4b9aa54ca1b6755567daf73af3ab6328b5adcd273e1a987f6327e5572b793",
      rtmr1:
        "130c4645c311c114ecd556084949d26e0f1f6ef52c67a7f0e10bd5286f3448d02f5a434cf2103fedc09dd193581f73ce",
      rtmr2:
        "bd66856b39c9acf7d589821195ff8d898066375ec578b04ba296271a896774a98c47bf47844bcfa6998c55eb46ee789c",
    });
  });
});

/** Debian's package ovmf: the variable store that its OVMF.fd begins with, and the firmware of a TD in the vectors had. */
const VARIABLES = "/usr/share/OVMF/OVMF_VARS_4M.fd";

describe.runIf(haveVectors)("a start on Intel hardware", () => {
  const log = haveVectors ? parseCcel(vector("ccel.bin")) : [];
  const digests = (imr: number): string[] => log.filter((e) => e.imr === imr).map((e) => e.digest);
  const computed = haveVectors ? computeMeasurements({ ...launch, memoryMib: 1024 }, log) : undefined;
  const expected = (imr: number) => computed?.events.filter((e) => e.imr === imr) ?? [];

  it("has the events we expect, in this order, with these types", () => {
    for (const imr of [0, 1]) {
      const types = log.filter((e) => e.imr === imr).map((e) => e.event_type);
      expect(expected(imr).map((e) => e.eventType)).toEqual(types);
    }
  });

  it("has the digests we compute, where they do not come from files we do not have", () => {
    const foreign = ["variable-store", "kernel"];
    for (const imr of [0, 1]) {
      const theirs = digests(imr);
      for (const [i, event] of expected(imr).entries()) {
        if (!foreign.includes(event.subject))
          expect([event.name, event.digest]).toEqual([event.name, theirs[i]]);
      }
    }
  });

  it.runIf(existsSync(VARIABLES))("has the RTMR0 we compute in a quote that Intel's hardware signed", () => {
    const variables = new Uint8Array(readFileSync(VARIABLES));
    const firmware = makeFirmware(variables);
    const { rtmr0, memoryMib } = computeMeasurements({ ...launch, firmware, memoryMib: undefined }, log);
    const text = new TextDecoder().decode(vector("tappd_quote_v4.hex")).trim();
    const quote = parseQuote(new Uint8Array(Buffer.from(text.replace(/^0x/, ""), "hex")));
    expect(memoryMib).toBe(1024);
    expect(rtmr0).toBe(hex(quote.body.rtmr[0]));
  });

  it("has a log whose kernel is an image at the place of a file named kernel", () => {
    const kernel = log.find((e) => e.imr === 1);
    const path = concatBytes(Buffer.from("04041200", "hex"), Buffer.from("kernel\0", "utf16le"));
    expect(kernel?.event_payload).toContain(hex(path));
  });
});
