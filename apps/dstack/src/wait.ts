import { TimeoutError, sleep, withDeadline } from "@dstack/core";
import type { teepod } from "@dstack/proto";
import { CliError, printable } from "./output.js";
import type { Progress } from "./output.js";
import type { TeepodClient } from "./teepod.js";

/** How often a VM is looked at. */
const POLL_MS = 500;

/** A guest that has not shut down by then is left running, and the command says so. */
const SHUTDOWN_LIMIT_MS = 120_000;

export interface WaitOptions {
  client: TeepodClient;
  id: string;
  progress: Progress;
  limitMs: number;
  signal: AbortSignal;
}

/**
 * Waits until the guest says it is ready, showing each step of its boot.
 * @throws {CliError} the boot failed (with its reason), took too long, or the wait was interrupted
 */
export async function waitReady({
  client,
  id,
  progress,
  limitMs,
  signal,
}: WaitOptions): Promise<teepod.VmInfo> {
  const follow = `\`dstack logs -f ${id}\` shows its console`;
  const look = async (limit: AbortSignal): Promise<teepod.VmInfo> => {
    for (;;) {
      const { found, info } = await client.getInfo({ id }, { signal: limit });
      if (!found || info === undefined) throw new CliError(`VM ${id} is gone`);
      if (info.bootError) throw new CliError(`booting failed: ${printable(info.bootError)}; ${follow}`);
      if (info.status === "stopped" || info.status === "exited")
        throw new CliError(`the VM has ${info.status}; ${follow}`);
      if (info.bootProgress) progress.step(`guest: ${printable(info.bootProgress)}`);
      if (info.bootProgress?.startsWith("ready")) return info;
      await sleep(POLL_MS, limit);
    }
  };
  try {
    return await withDeadline("booting", limitMs, look, signal);
  } catch (err) {
    if (signal.aborted)
      throw new CliError(`interrupted; the VM goes on booting: ${follow}`, 130, { cause: err });
    if (err instanceof TimeoutError)
      throw new CliError(`not ready after ${limitMs / 1000} s; the VM goes on booting: ${follow}`, 1, {
        cause: err,
      });
    throw err;
  }
}

/** `--wait` and `--timeout`. */
export interface BootWaitOptions {
  wait?: boolean;
  /** Seconds. */
  timeout: number;
}

export type BootOptions = Omit<WaitOptions, "limitMs"> & { readonly options: BootWaitOptions };

/** Waits for a boot if that was asked for, else says how to look at it. @throws {CliError} as {@link waitReady} */
export async function bootOf({ options, ...wait }: BootOptions): Promise<void> {
  if (options.wait === true) await waitReady({ ...wait, limitMs: options.timeout * 1000 });
  else wait.progress.step(`it boots now: \`dstack logs -f ${wait.id}\` shows its console`);
}

/**
 * Waits until a VM has stopped.
 * @throws {TimeoutError} it has not within the limit
 */
export async function waitStopped(
  client: TeepodClient,
  id: string,
  signal: AbortSignal,
  limitMs = SHUTDOWN_LIMIT_MS,
): Promise<void> {
  const look = async (limit: AbortSignal): Promise<void> => {
    for (;;) {
      const { found, info } = await client.getInfo({ id }, { signal: limit });
      if (!found || info?.status === "stopped" || info?.status === "exited") return;
      await sleep(POLL_MS, limit);
    }
  };
  await withDeadline("shutting down", limitMs, look, signal);
}
