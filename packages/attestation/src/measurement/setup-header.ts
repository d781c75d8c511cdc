import { InputError } from "@dstack/core";
import { lowMemoryBytes } from "./memory.js";

/** Fields of the Linux boot protocol's setup header (Documentation/arch/x86/boot.rst), by offset in the image. */
const FIELD = {
  magic: 0x202,
  version: 0x206,
  typeOfLoader: 0x210,
  loadFlags: 0x211,
  ramdiskImage: 0x218,
  ramdiskSize: 0x21c,
  heapEndPtr: 0x224,
  cmdLinePtr: 0x228,
  initrdAddrMax: 0x22c,
  xLoadFlags: 0x236,
} as const;
const HEADER_END = 0x268;
const MAGIC = "HdrS";
const LOADED_HIGH = 0x01;
const CAN_USE_HEAP = 0x80;
const CAN_BE_LOADED_ABOVE_4G = 0x02;

/** QEMU's own places for a kernel of protocol 2.2 or later, and its name as a boot loader. */
const QEMU = { setupAddress: 0x1_0000, cmdlineAddress: 0x2_0000, loader: 0xb0 } as const;
/** What QEMU keeps free for ACPI tables below the end of the low memory of a q35 machine. */
const ACPI_DATA_BYTES = 0x2_8000;

/**
 * The kernel as QEMU up to 9.2 hands it to the firmware: with QEMU's entries in the setup header, of which the place of
 * the initial RAM disk depends on its size and on the VM's memory (QEMU, `x86_load_linux`).
 * @param initrdBytes length of the initial RAM disk
 * @throws {InputError} a kernel that QEMU treats in another way
 */
export function patchSetupHeader(
  kernel: Uint8Array,
  { initrdBytes, memoryMib, cmdline }: { initrdBytes: number; memoryMib: number; cmdline: string },
): Uint8Array {
  if (kernel.length < HEADER_END) throw new InputError("the kernel is too short");
  const patched = new Uint8Array(kernel);
  const view = new DataView(patched.buffer);
  const magic = String.fromCharCode(...patched.subarray(FIELD.magic, FIELD.magic + 4));
  const version = view.getUint16(FIELD.version, true);
  const flags = view.getUint8(FIELD.loadFlags);
  if (magic !== MAGIC || version < 0x20c || (flags & LOADED_HIGH) === 0) {
    throw new InputError("the kernel is no bzImage of boot protocol 2.12 or later");
  }
  if (cmdline.includes("vga=")) {
    throw new InputError(
      "vga= on the command line changes the kernel's header under QEMU before 10.0: leave it out",
    );
  }
  view.setUint8(FIELD.typeOfLoader, QEMU.loader);
  view.setUint8(FIELD.loadFlags, flags | CAN_USE_HEAP);
  view.setUint16(FIELD.heapEndPtr, QEMU.cmdlineAddress - QEMU.setupAddress - 0x200, true);
  view.setUint32(FIELD.cmdLinePtr, QEMU.cmdlineAddress, true);

  const above = (view.getUint16(FIELD.xLoadFlags, true) & CAN_BE_LOADED_ABOVE_4G) !== 0;
  const kernelMax = above ? 0xffff_ffff : view.getUint32(FIELD.initrdAddrMax, true);
  const max = Math.min(kernelMax, lowMemoryBytes(memoryMib) - ACPI_DATA_BYTES - 1);
  if (initrdBytes >= max) {
    throw new InputError(`an initial RAM disk of ${initrdBytes} bytes does not fit into ${memoryMib} MiB`);
  }
  view.setUint32(FIELD.ramdiskImage, Math.floor((max - initrdBytes) / 4096) * 4096, true);
  view.setUint32(FIELD.ramdiskSize, initrdBytes, true);
  return patched;
}
