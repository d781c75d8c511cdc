import { once } from "node:events";
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

/**
 * The whole life of a daemon's process: starts it, waits for SIGINT or SIGTERM, releases it within 10 s (and what it
 * says it needs for finishing its work), exits. systemd, where it started us, is told (Type=notify, watchdog).
 * Exit code 0 after a signal, 1 when it could not start or stop; a second signal exits at once with 1. Never returns.
 * @param start opens everything; its signal aborts on the first SIGINT or SIGTERM
 */
export async function runDaemon(
  name: string,
  start: (signal: AbortSignal) => Promise<AsyncDisposable & { readonly finishMs?: number }>,
  options: { log?: Logger } = {},
): Promise<never> {
  const log = options.log ?? createLogger({ name });
  const manager = new ServiceManager(log);
  const stop = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      if (stop.signal.aborted) process.exit(1);
      log.info({ signal }, "stopping");
      stop.abort(new Error(`stopped by ${signal}`));
    });
  }
  process.on("uncaughtException", (err) => {
    log.fatal({ err }, "unexpected error");
    process.exit(1);
  });

  let service: Awaited<ReturnType<typeof start>>;
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
