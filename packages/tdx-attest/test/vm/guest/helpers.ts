import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { promisify } from "node:util";
import { parseQuote } from "@dstack/attestation";
import { errorMessage, sha384 } from "@dstack/core";
import { DeviceError, type DeviceErrorCode, type QuoteProvider } from "../../../src/index.js";
import type { TestTd } from "./test-td.js";

const run = promisify(execFile);

/** Long enough for a good call on an emulated machine with a busy host, short enough for a test of a hang. */
export const LIMIT_MS = 3000;
/** For providers whose device is going to hang. The others have the limits of the guest's programs. */
export const IMPATIENT = { callMs: LIMIT_MS, qgsMs: LIMIT_MS / 2, quoteMs: 2 * LIMIT_MS };
export const someData = (): Uint8Array => new Uint8Array(randomBytes(64));

/** Loads a module of the VM's, with its parameters. */
export async function insmod(name: string, ...parameters: string[]): Promise<void> {
  await run("/bin/busybox", ["insmod", `/modules/${name}.ko`, ...parameters]);
}

export async function rmmod(name: string): Promise<void> {
  await run("/bin/busybox", ["rmmod", name]);
}

/** The promise rejects with this DeviceError. */
export async function refused(
  promise: Promise<unknown>,
  code: DeviceErrorCode,
  message?: RegExp,
): Promise<void> {
  await assert.rejects(promise, (err: unknown) => {
    assert.ok(err instanceof DeviceError, `no DeviceError: ${errorMessage(err)}`);
    assert.equal(err.code, code, err.message);
    if (message !== undefined) assert.match(err.message, message);
    return true;
  });
}

/** The promise rejects with this system error. */
export async function fails(promise: Promise<unknown>, code: string): Promise<void> {
  await assert.rejects(promise, { code });
}

/** A machine may be so much slower than one that has nothing else to do. */
const SLOWER = 10;

/** The work ends by itself, and is not what the limit of the assertion ends. @param ms where little else runs */
export async function within<T>(ms: number, work: Promise<T>): Promise<T> {
  const started = Date.now();
  try {
    return await work;
  } finally {
    const took = Date.now() - started;
    assert.ok(took < SLOWER * ms, `took ${took} ms`);
  }
}

export function reportDataOf(quote: Uint8Array): Uint8Array {
  return parseQuote(quote).body.reportData;
}

/** One extend through the provider does what the TDX module does, and the provider reads it back. */
export async function extendsLikeHardware(provider: QuoteProvider, td: TestTd): Promise<void> {
  const digest = sha384(randomBytes(8));
  const before = await provider.readRtmr(3);
  await provider.extendRtmr(3, digest);
  const expected = sha384(before, digest);
  assert.deepEqual(await provider.readRtmr(3), expected);
  assert.deepEqual(await td.readRtmr(3), expected);
}

/** Another process of this program. */
export function start(role: string, ...args: string[]): ChildProcess {
  return spawn(process.execPath, ["/guest.mjs", role, ...args], {
    stdio: ["ignore", "pipe", "inherit"],
    env: { ...process.env, UV_THREADPOOL_SIZE: "4" },
  });
}

/** Its output, once it has ended well. */
export async function finish(child: ChildProcess): Promise<string> {
  let text = "";
  child.stdout?.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  const [code, signal] = (await once(child, "close")) as [number | null, string | null];
  assert.equal(code, 0, `ended with ${code ?? signal}: ${text}`);
  return text;
}
