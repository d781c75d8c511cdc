import { InputError } from "@dstack/core";
import type { PageOrder } from "./mrtd.js";

/** What is started and where: everything that RTMR0-2 and MRTD come from, ACPI tables excepted. */
export interface Launch {
  /** The firmware file, given to QEMU with `-bios`. */
  readonly firmware: Uint8Array;
  /** The kernel image, given with `-kernel`. */
  readonly kernel: Uint8Array;
  /** The initial RAM disk, given with `-initrd`. */
  readonly initrd: Uint8Array;
  /** The command line, given with `-append`. */
  readonly cmdline: string;
  /** The VM's memory in MiB. When it is left out, the one that the log's first event fits is taken. */
  readonly memoryMib?: number | undefined;
  readonly host: HostBehaviour;
}

/** What differs between the hosts that can start a TD. */
export interface HostBehaviour {
  readonly pageOrder: PageOrder;
  /** The firmware gets the kernel's file as it is, or with QEMU's entries in its setup header. */
  readonly kernel: "as-is" | "patched";
}

/**
 * How a version of QEMU starts a TD whose firmware is of edk2 2025.02 (which asks QEMU for the kernel's own file). TDX
 * is in QEMU since 10.1; 8 and 9 are the builds of vendors.
 * @param version such as `10.1` or `10.1.2`
 * @throws {InputError} another text, or a version without TDX
 */
export function qemuBehaviour(version: string): HostBehaviour {
  const match = /^(\d{1,3})(?:\.\d{1,3}){0,2}$/.exec(version);
  const major = Number(match?.[1]);
  if (match === null || major < 8)
    throw new InputError(`no TDX in QEMU "${version}": give a version such as 10.1`);
  return {
    pageOrder: major < 9 ? "pages-then-contents" : "page-by-page",
    kernel: major < 10 ? "patched" : "as-is",
  };
}
