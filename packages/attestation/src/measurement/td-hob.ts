import { InputError, concatBytes } from "@dstack/core";
import { HIGH_MEMORY_START, MAX_MEMORY_MIB, MIB, lowMemoryBytes } from "./memory.js";
import { SECTION } from "./tdvf.js";
import type { TdvfSection } from "./tdvf.js";

interface Range {
  readonly start: number;
  readonly length: number;
  /** The host has added the pages; the guest need not accept them. */
  readonly added: boolean;
}

/** HOB types and resource types of the PI Specification, volume 3. */
const HOB = { handoff: 1, resource: 3 } as const;
const RESOURCE = { systemMemory: 0, unaccepted: 7 } as const;
const HANDOFF_VERSION = 9;
/** Present, initialised, tested. */
const RESOURCE_ATTRIBUTES = 7;
const HANDOFF_BYTES = 56;
const RESOURCE_BYTES = 48;
const END_BYTES = 8;

/**
 * The list of memory that QEMU hands to the firmware, as the firmware measures it into RTMR0: without the mark that ends
 * it (QEMU `hw/i386/tdvf-hob.c`, OVMF `TdxHelperMeasureTdHob`).
 * @throws {InputError} the firmware's sections do not lie within this memory
 */
export function tdHob(sections: readonly TdvfSection[], memoryMib: number): Uint8Array {
  const ranges = memoryRanges(sections, memoryMib);
  const base = sections.find((section) => section.type === SECTION.tdHob)?.address ?? 0;
  const handoff = header(HOB.handoff, HANDOFF_BYTES);
  handoff.writeUInt32LE(HANDOFF_VERSION, 8);
  const end = base + HANDOFF_BYTES + RESOURCE_BYTES * ranges.length + END_BYTES;
  handoff.writeBigUInt64LE(BigInt(end), 48);
  return concatBytes(handoff, ...ranges.map(resource));
}

function resource({ start, length, added }: Range): Buffer {
  const hob = header(HOB.resource, RESOURCE_BYTES);
  hob.writeUInt32LE(added ? RESOURCE.systemMemory : RESOURCE.unaccepted, 24);
  hob.writeUInt32LE(RESOURCE_ATTRIBUTES, 28);
  hob.writeBigUInt64LE(BigInt(start), 32);
  hob.writeBigUInt64LE(BigInt(length), 40);
  return hob;
}

function header(type: number, length: number): Buffer {
  const hob = Buffer.alloc(length);
  hob.writeUInt16LE(type, 0);
  hob.writeUInt16LE(length, 2);
  return hob;
}

/** The guest's memory in order of address, cut where the firmware's empty sections begin and end. */
function memoryRanges(sections: readonly TdvfSection[], memoryMib: number): Range[] {
  const low = lowMemoryBytes(memoryMib);
  const high = memoryMib * MIB - low;
  let ranges: Range[] = [{ start: 0, length: low, added: false }];
  if (high > 0) ranges.push({ start: HIGH_MEMORY_START, length: high, added: false });
  for (const section of sections) {
    if (section.data !== undefined) continue;
    ranges = ranges.flatMap((range) => cut(range, section));
    if (!ranges.some((range) => range.added && range.start === section.address)) {
      throw new InputError(`a VM with ${memoryMib} MiB has not the memory that this firmware needs`);
    }
  }
  return ranges;
}

function cut(range: Range, { address, length }: TdvfSection): Range[] {
  const end = range.start + range.length;
  if (range.added || length === 0 || address < range.start || address + length > end) return [range];
  return [
    { start: range.start, length: address - range.start, added: false },
    { start: address, length, added: true },
    { start: address + length, length: end - address - length, added: false },
  ].filter((part) => part.length > 0);
}

/** Memory sizes a VM may well have: whole MiB up to 16 GiB, whole GiB up to 1 TiB. */
function* likelyMemorySizes(): Generator<number> {
  for (let mib = 16; mib <= 16_384; mib++) yield mib;
  for (let mib = 17_408; mib <= MAX_MEMORY_MIB; mib += 1024) yield mib;
}

/**
 * The memory, in MiB, whose list has this digest: the log does not say the size, but there are few to try.
 * @param matches whether a list is the measured one
 */
export function memoryOfTdHob(
  sections: readonly TdvfSection[],
  matches: (list: Uint8Array) => boolean,
): number | undefined {
  for (const mib of likelyMemorySizes()) {
    try {
      if (matches(tdHob(sections, mib))) return mib;
    } catch (err) {
      // Too small for the firmware: a larger one may do.
      if (!(err instanceof InputError)) throw err;
    }
  }
  return undefined;
}
