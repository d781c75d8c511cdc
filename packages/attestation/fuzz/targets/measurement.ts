import { InputError } from "@dstack/core";
import { EvidenceError, QuoteError, parseObserved } from "../../src/index.js";
import { authenticodeSha384 } from "../../src/measurement/authenticode.js";
import { eventText } from "../../src/measurement/event-text.js";
import { mrtd } from "../../src/measurement/mrtd.js";
import { patchSetupHeader } from "../../src/measurement/setup-header.js";
import { tdHob } from "../../src/measurement/td-hob.js";
import { parseTdvf } from "../../src/measurement/tdvf.js";
import { makeFirmware, makeKernel, noise } from "../../test/measurement/files.js";
import { logOf, makeCase } from "../../test/support/platform.js";
import { fromHex, require, utf8 } from "../target.js";
import type { Target } from "../target.js";

export const tdvf: Target = {
  name: "tdvf",
  seeds: () => [makeFirmware(noise(4096, 1), 4096), makeFirmware()],
  words: [
    utf8("TDVF"),
    ...["de82b596b21ff745baeaa366c55a082d", "35657ae44a989847865e4685a7bf8ec2"].map(fromHex),
    ...["00100000", "0000000001000000", "03000000", "ffffffffffffffff"].map(fromHex),
  ],
  maxBytes: 32 * 1024,
  refusals: [InputError],
  read: (input) => {
    const sections = parseTdvf(input);
    const bytes = sections.reduce((sum, section) => sum + section.length, 0);
    require(Number.isSafeInteger(bytes) && bytes % 4096 === 0, "the sections are not whole pages");
    require(sections.every(
      ({ data, length }) => data === undefined || data.length === length,
    ), "a section is cut off");
    require(mrtd(sections, "page-by-page").length === 48, "MRTD has another length");
    require((tdHob(sections, 2048).length - 56) % 48 === 0, "the list of memory has another form");
  },
};

export const kernel: Target = {
  name: "kernel",
  seeds: () => [makeKernel(), makeKernel({ signature: 64 }), makeKernel({ trailing: 512, xLoadFlags: 0 })],
  words: [utf8("PE\0\0"), utf8("HdrS"), ...["0b01", "0b02", "06000000", "00100000", "ffffffff"].map(fromHex)],
  maxBytes: 32 * 1024,
  refusals: [InputError],
  read: (input) => {
    require(authenticodeSha384(input).length === 48, "the digest has another length");
    const patched = patchSetupHeader(input, { initrdBytes: 1 << 20, memoryMib: 1024, cmdline: "quiet" });
    require(patched.length === input.length, "the kernel has another length");
  },
};

export const observed: Target = {
  name: "observed",
  seeds: () => {
    const quote = Buffer.from(makeCase().quote).toString("hex");
    return [{ quote, event_log: JSON.stringify(logOf()) }, { quote, event_log: logOf() }, logOf()].map(
      (value) => utf8(JSON.stringify(value)),
    );
  },
  words: ['"quote":', '"event_log":', "[]", "{}", '""', "null"].map(utf8),
  refusals: [InputError, EvidenceError, QuoteError],
  read: (input) => {
    const { log } = parseObserved(input);
    for (const event of log) require(typeof eventText(event) === "string", "an event has no text");
  },
};
