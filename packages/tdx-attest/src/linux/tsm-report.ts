/** Quotes through configfs-tsm (Linux ≥ 6.7, Documentation/ABI/testing/configfs-tsm-report). */
import { randomBytes } from "node:crypto";
import { constants } from "node:fs";
import { type FileHandle, mkdir, open, readFile, rmdir } from "node:fs/promises";
import { join } from "node:path";
import { DeviceError } from "../quote-provider.js";
import { deviceError } from "./device-error.js";
import { MIN_QUOTE_BYTES } from "./qgs-message.js";

export const DEFAULT_CONFIGFS = "/sys/kernel/config/tsm/report";
const PROVIDER = "tdx_guest";
/** Longest answer we take. Kernels cap theirs at 32 KiB. */
const MAX_OUTBLOB_BYTES = 64 * 1024;

/**
 * Makes an entry of our own, which nobody else writes to, and removes it at the end.
 * @throws {DeviceError}
 */
async function withEntry<T>(configfs: string, work: (dir: string) => Promise<T>): Promise<T> {
  const dir = join(configfs, `dstack-${process.pid}-${randomBytes(6).toString("hex")}`);
  try {
    await mkdir(dir);
  } catch (err) {
    throw deviceError(err, `making ${dir}`);
  }
  try {
    return await work(dir);
  } catch (err) {
    throw deviceError(err, `quote through ${dir}`);
  } finally {
    // An entry left behind holds a little memory and nobody's name: not worth losing the quote, or the first error.
    await rmdir(dir).catch(() => {});
  }
}

/**
 * Whether this kernel makes TDX quotes through configfs.
 * @throws {DeviceError} it offers reports of something else, or may not be used
 */
export async function hasTsmReports(configfs: string): Promise<boolean> {
  try {
    await withEntry(configfs, requireProvider);
    return true;
  } catch (err) {
    // ENOENT: no such interface in this kernel. ENXIO: the interface without a driver behind it.
    if (err instanceof DeviceError && err.code === "no_device") return false;
    throw err;
  }
}

/**
 * One quote over 64 bytes of report data.
 * @throws {DeviceError} `retryable` for a busy or slow device, `quote_failed` for an answer that is no quote
 */
export async function tsmQuote(configfs: string, reportData: Uint8Array): Promise<Uint8Array> {
  return withEntry(configfs, async (dir) => {
    await requireProvider(dir);
    const before = await readGeneration(dir);
    await writeOnce(join(dir, "inblob"), reportData);
    const quote = await readCapped(join(dir, "outblob"));
    const after = await readGeneration(dir);
    // The kernel takes inblob when it is closed and tells nobody when that failed: only the generation shows it.
    if (after !== before + 1) {
      throw new DeviceError(
        "retryable",
        `generation of ${dir} went from ${before} to ${after}, not up by one`,
      );
    }
    if (quote.length < MIN_QUOTE_BYTES) {
      // What the kernel gives when the host refused to quote.
      throw new DeviceError(
        "quote_failed",
        `the host's quote generation service gave ${quote.length} bytes, no quote`,
      );
    }
    return quote;
  });
}

async function requireProvider(dir: string): Promise<void> {
  const provider = (await readFile(join(dir, "provider"), "utf8")).trim();
  if (provider !== PROVIDER) {
    throw new DeviceError("unsupported", `reports here come from "${provider}", not from ${PROVIDER}`);
  }
}

async function readGeneration(dir: string): Promise<number> {
  const text = (await readFile(join(dir, "generation"), "utf8")).trim();
  if (!/^\d{1,15}$/.test(text))
    throw new DeviceError("device_failure", `generation is "${text}", not a number`);
  return Number(text);
}

async function writeOnce(path: string, bytes: Uint8Array): Promise<void> {
  const file = await open(path, constants.O_WRONLY);
  try {
    const { bytesWritten } = await file.write(bytes, 0, bytes.length, 0);
    if (bytesWritten !== bytes.length) {
      throw new DeviceError("device_failure", `${path} took ${bytesWritten} of ${bytes.length} bytes`);
    }
  } finally {
    await file.close();
  }
}

/** Reads to the end; the file says nothing about its size. */
async function readCapped(path: string): Promise<Uint8Array> {
  const file = await open(path, constants.O_RDONLY);
  try {
    return await readToEnd(file);
  } finally {
    await file.close();
  }
}

async function readToEnd(file: FileHandle): Promise<Uint8Array> {
  const buffer = new Uint8Array(MAX_OUTBLOB_BYTES + 1);
  let length = 0;
  while (length < buffer.length) {
    const { bytesRead } = await file.read(buffer, length, buffer.length - length, length);
    if (bytesRead === 0) return buffer.slice(0, length);
    length += bytesRead;
  }
  throw new DeviceError("quote_failed", `the quote is longer than ${MAX_OUTBLOB_BYTES} bytes`);
}
