/** Measurement registers in sysfs (Linux ≥ 6.16, Documentation/ABI/testing/sysfs-devices-virtual-misc-tdx_guest). */
import { constants } from "node:fs";
import { access, open } from "node:fs/promises";
import { join } from "node:path";
import { errorCode } from "@dstack/core";
import { RTMR_BYTES } from "../lengths.js";
import { DeviceError, type RtmrIndex } from "../quote-provider.js";
import { deviceError } from "./device-error.js";

export const DEFAULT_MEASUREMENTS = "/sys/devices/virtual/misc/tdx_guest/measurements";

const registerPath = (dir: string, index: number): string => join(dir, `rtmr${index}:sha384`);

/** Whether this kernel shows the registers. */
export async function hasRtmrFiles(dir: string): Promise<boolean> {
  try {
    await access(registerPath(dir, 3));
    return true;
  } catch (err) {
    if (errorCode(err) === "ENOENT" || errorCode(err) === "ENOTDIR") return false;
    throw deviceError(err, "looking for the RTMR files");
  }
}

/** @throws {DeviceError} */
export async function readRtmrFile(dir: string, index: RtmrIndex): Promise<Uint8Array> {
  const path = registerPath(dir, index);
  try {
    const file = await open(path, constants.O_RDONLY);
    try {
      const buffer = new Uint8Array(RTMR_BYTES + 1);
      const { bytesRead } = await file.read(buffer, 0, buffer.length, 0);
      if (bytesRead !== RTMR_BYTES) {
        throw new DeviceError("device_failure", `${path} has ${bytesRead} bytes, not ${RTMR_BYTES}`);
      }
      return buffer.slice(0, RTMR_BYTES);
    } finally {
      await file.close();
    }
  } catch (err) {
    throw deviceError(err, `reading RTMR ${index}`);
  }
}

/**
 * A write of 48 bytes at offset 0 extends the register.
 * @throws {DeviceError}
 */
export async function extendRtmrFile(dir: string, index: 3, digest: Uint8Array): Promise<void> {
  const path = registerPath(dir, index);
  try {
    const file = await open(path, constants.O_WRONLY);
    try {
      // One write call, never a loop: a second write would be a second extend.
      const { bytesWritten } = await file.write(digest, 0, digest.length, 0);
      if (bytesWritten !== digest.length) {
        throw new DeviceError("device_failure", `${path} took ${bytesWritten} of ${digest.length} bytes`);
      }
    } finally {
      await file.close();
    }
  } catch (err) {
    // The driver answers ENXIO when the TDX module refuses the operand.
    throw deviceError(err, `extending RTMR ${index}`, { ENXIO: "bad_argument" });
  }
}
