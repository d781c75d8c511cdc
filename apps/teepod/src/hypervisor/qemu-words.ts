import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";
import { errorCode } from "@dstack/core";
import { cleanLine } from "../vm/text.js";
import type { VmPause } from "./hypervisor.js";
import { VM_FILES } from "./qemu-args.js";

/** What QEMU's reason for a SHUTDOWN event means (QAPI `ShutdownCause`), for people. */
export function describeShutdown(reason: unknown): string | undefined {
  switch (reason) {
    case "guest-shutdown":
      return "the guest shut down";
    case "guest-reset":
      return "the guest rebooted or its kernel panicked";
    case "guest-panic":
      return "the guest's kernel panicked";
    case "host-qmp-quit":
    case "host-signal":
      return "the host ended the VM";
    case "host-error":
      return "QEMU ended the VM after an error";
    default:
      return undefined;
  }
}

/** What QEMU's answer to query-status means (QAPI `RunState`); `undefined` for a VM that runs. */
export function describePause(status: unknown): VmPause | undefined {
  switch (status) {
    case "running":
    // It has not begun, or is on its way out; another event follows at once.
    case "prelaunch":
    case "shutdown":
      return undefined;
    case "io-error":
      // QEMU stops a VM for this error only (werror=enospc is the default); others the guest gets to see.
      return {
        cause: "disk_full",
        sentence: "the host's disk is full; the VM stands still and goes on when there is room",
      };
    case "suspended":
      return { cause: "other", sentence: "the guest has put itself to sleep" };
    default:
      return { cause: "other", sentence: `QEMU has stopped the VM (${cleanLine(String(status), 40)})` };
  }
}

const TAIL_BYTES = 8192;

/** The last line QEMU itself printed, if it printed anything. A guest can make it print a lot. */
export function lastQemuLine(dir: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(join(dir, VM_FILES.qemuLog), "r");
  } catch (err) {
    if (errorCode(err) === "ENOENT") return undefined;
    throw err;
  }
  try {
    const tail = Buffer.alloc(TAIL_BYTES);
    const length = readSync(fd, tail, 0, TAIL_BYTES, Math.max(0, fstatSync(fd).size - TAIL_BYTES));
    const lines = tail.toString("utf8", 0, length).split("\n");
    const line = lines.findLast((text) => text.trim() !== "" && !text.includes("warning:"));
    return line === undefined ? undefined : cleanLine(line, 300).replace(/^qemu-system-\S+: /, "");
  } finally {
    closeSync(fd);
  }
}
