import { execa } from "execa";

/** More of a hook's output than this is not told. */
const MAX_OUTPUT_BYTES = 64 * 1024;

/**
 * Runs the renew hook without a shell, with the paths in `CERTBOT_CERT` and `CERTBOT_KEY`.
 * @throws when it cannot be started, fails, or takes longer than `limitMs`; with the end of what it said
 */
export async function runHook(
  command: readonly string[],
  files: { certPath: string; keyPath: string },
  limitMs: number,
  signal: AbortSignal,
): Promise<void> {
  const [program = "", ...args] = command;
  const result = await execa(program, args, {
    env: { CERTBOT_CERT: files.certPath, CERTBOT_KEY: files.keyPath },
    stdin: "ignore",
    all: true,
    reject: false,
    timeout: limitMs,
    maxBuffer: MAX_OUTPUT_BYTES,
    cancelSignal: signal,
    forceKillAfterDelay: 5000,
  });
  signal.throwIfAborted();
  if (!result.failed) return;
  const said = result.all === undefined || result.all === "" ? "" : `: ${result.all.slice(-500)}`;
  const how = result.timedOut
    ? `took longer than ${limitMs / 1000} s`
    : result.exitCode === undefined
      ? "could not be run"
      : `failed with exit code ${result.exitCode}`;
  const why = result.exitCode === undefined && !result.timedOut ? `: ${result.shortMessage ?? ""}` : said;
  throw new Error(`the renew hook ${program} ${how}${why}`);
}
