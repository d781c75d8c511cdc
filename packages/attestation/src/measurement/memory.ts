import { InputError } from "@dstack/core";

export const MIB = 1024 * 1024;
/** Most memory we compute with; QEMU's q35 puts more than about 1 TiB elsewhere on some processors. */
export const MAX_MEMORY_MIB = 1024 * 1024;

/** Where the second part of the memory starts. */
export const HIGH_MEMORY_START = 2 ** 32;

/**
 * Bytes of a q35 machine's memory that lie below 4 GiB; the rest starts there (QEMU, `pc_q35_init`).
 * @throws {InputError} no size a VM can have
 */
export function lowMemoryBytes(memoryMib: number): number {
  if (!Number.isInteger(memoryMib) || memoryMib < 1 || memoryMib > MAX_MEMORY_MIB) {
    throw new InputError(`the memory of a VM must be a whole number of MiB up to ${MAX_MEMORY_MIB}`);
  }
  const bytes = memoryMib * MIB;
  return bytes >= 0xb000_0000 ? 0x8000_0000 : bytes;
}
