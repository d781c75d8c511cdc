import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { isAbsolute } from "node:path";
import { fileURLToPath } from "node:url";
import { errorMessage } from "@dstack/core";
import { DeviceError } from "../quote-provider.js";

/**
 * The addon in `native/`: what Node cannot do itself. Calls end within their time limits; they reject with errors that
 * have `code`, `errno`, `syscall` and `path`, and throw RangeError at once for arguments of the wrong length.
 */
export interface NativeAddon {
  /** TDREPORT, 1024 bytes, over 64 bytes of report data. ETIMEDOUT at the limit, EBUSY while such a call still hangs. */
  getReport(devicePath: string, reportData: Uint8Array, timeoutMs: number): Promise<Uint8Array>;
  /**
   * After ETIMEDOUT nobody knows whether the register was extended.
   * @param digest 48 bytes
   */
  extendRtmr(devicePath: string, index: number, digest: Uint8Array, timeoutMs: number): Promise<void>;
  /** Sends a message with its length before it over AF_VSOCK and gives back the one that is answered. */
  qgsRequest(
    cid: number,
    port: number,
    message: Uint8Array,
    timeoutMs: number,
    maxBytes: number,
  ): Promise<Uint8Array>;
}

const FILE = "tdx_attest.node";

let loaded: NativeAddon | undefined;

/**
 * Loads the addon: the file `DSTACK_TDX_ADDON` names, else beside the bundle, else where `build-addon.sh` puts it.
 * @throws {DeviceError} `unsupported`
 */
export function nativeAddon(): NativeAddon {
  loaded ??= load();
  return loaded;
}

function load(): NativeAddon {
  const named = process.env["DSTACK_TDX_ADDON"];
  const candidates =
    named === undefined
      ? [`./${FILE}`, `../build/${FILE}`, `../../build/${FILE}`].map((at) =>
          fileURLToPath(new URL(at, import.meta.url)),
        )
      : [named];
  const path = candidates.find((candidate) => isAbsolute(candidate) && existsSync(candidate));
  if (path === undefined) {
    const hint =
      "build it with packages/tdx-attest/build-addon.sh, or name it in DSTACK_TDX_ADDON (absolute path)";
    throw new DeviceError("unsupported", `the addon ${FILE} is missing: ${hint}`, { candidates });
  }
  try {
    return createRequire(import.meta.url)(path) as NativeAddon;
  } catch (err) {
    throw new DeviceError("unsupported", `loading ${path}: ${errorMessage(err)}`, {}, { cause: err });
  }
}
