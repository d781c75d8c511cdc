import { once } from "node:events";
import { isatty } from "node:tty";
import { InputError, errorMessage, withDeadline } from "@dstack/core";
import { ConfigError } from "./config.js";
import { createLogger } from "./logger.js";
import type { Logger } from "./logger.js";
import { ServiceManager } from "./service-manager.js";

/** How long a daemon may take to release what it holds before it exits all the same. */
const DISPOSE_LIMIT_MS = 10_000;

/** An operator's mistake needs a sentence, not a stack. */
function isOperatorError(err: unknown): boolean {
  return err instanceof ConfigError || err instanceof InputError;
}

/** What {@link runDaemon} runs. */
export interface Daemon extends AsyncDisposable {
  /** Beside the usual limit, how long it may take to finish its work when it is disposed of. */
  readonly finishMs?: number;
  /**
   * Reads again what it can read again while it runs: on SIGHUP. Daemons without it go on as they are.
   * @returns why what it found is not in use; undefined where it is
   */
  reload?(): Promise<string | undefined>;
}

/**
 * The whole life of a daemon's process: starts it, waits for SIGINT or SIGTERM, releases it within 10 s (and what it
 * says it needs for finishing its work), exits. systemd, where it started us, is told (Type=notify, watchdog).
 * Exit code 0 after a signal, 1 when it could not start or stop; a second signal exits at once with 1. Never returns.
 * SIGHUP reloads, and ends nothing, unless it tells that the terminal the daemon was started in is gone.
 * @param start opens everything; its signal aborts on the first SIGINT or SIGTERM
 */
export async function runDaemon(
  name: string,
  start: (signal: AbortSignal) => Promise<Daemon>,
  options: { log?: Logger } = {},
): Promise<never> {
  const log = options.log ?? createLogger({ name });
  const manager = new ServiceManager(log);
  const stop = new AbortController();
  const onStop = (signal: NodeJS.Signals): void => {
    if (stop.signal.aborted) process.exit(1);
    log.info({ signal }, "stopping");
    stop.abort(new Error(`stopped by ${signal}`));
  };
  process.on("SIGINT", onStop).on("SIGTERM", onStop);
  const hadTerminal = isatty(0);
  let service: Daemon | undefined;
  process.on("SIGHUP", (signal) => {
    // The shell of a terminal that is gone may send it once more.
    if (stop.signal.aborted) return;
    // A terminal that was hung up is none any more.
    if (hadTerminal && !isatty(0)) onStop(signal);
    else if (service !== undefined) void reload(service, log);
  });
  process.on("uncaughtException", (err) => {
    log.fatal({ err }, "unexpected error");
    process.exit(1);
  });

  try {
    service = await start(stop.signal);
  } catch (err) {
    if (stop.signal.aborted) process.exit(0);
    log.fatal(isOperatorError(err) ? { reason: errorMessage(err) } : { err }, "could not start");
    process.stderr.write(`${name}: ${errorMessage(err)}\n`);
    process.exit(1);
  }
  await manager.ready();
  // A daemon whose handles are all unreferenced still has to wait for its signal.
  const alive = setInterval(() => {}, 2 ** 30);
  if (!stop.signal.aborted) await once(stop.signal, "abort");
  clearInterval(alive);
  await manager.stopping();
  try {
    const limitMs = DISPOSE_LIMIT_MS + (service.finishMs ?? 0);
    await withDeadline("stopping", limitMs, () => Promise.resolve(service[Symbol.asyncDispose]()));
  } catch (err) {
    log.error({ err }, "could not stop cleanly");
    process.exit(1);
  }
  log.info("stopped");
  process.exit(0);
}

/** The answer to SIGHUP, whose default would be to end: systemd takes that for an orderly end, and starts nothing anew. */
async function reload(service: Daemon, log: Logger): Promise<void> {
  try {
    if (service.reload === undefined) {
      log.warn({ signal: "SIGHUP" }, "nothing is read again while this daemon runs: restart it");
      return;
    }
    const refusal = await service.reload();
    if (refusal === undefined) log.info({ signal: "SIGHUP" }, "reloaded");
    else log.error({ signal: "SIGHUP", reason: refusal }, "reloaded, but what was found is not in use");
  } catch (err) {
    log.error({ signal: "SIGHUP", err }, "could not reload");
  }
}
