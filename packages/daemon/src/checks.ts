import { errorMessage, sleep } from "@dstack/core";
import { createApp } from "./app.js";
import { addHealthAndMetrics } from "./health.js";
import type { Registry } from "prom-client";
import { listenHttp } from "./listen.js";
import type { Logger } from "./logger.js";
import { ResourceStack } from "./resource-stack.js";

/** After a failure the next check comes sooner than the interval, but not so soon that it is itself a burden. */
const FIRST_RETRY_MS = 60_000;
const MAX_RETRY_MS = 1800_000;
/** Part of the interval by which waits differ, so that many machines do not ask one service at the same moment. */
const JITTER = 0.1;

/**
 * How long to wait after a check, ms: the interval, or after failures in a row one minute, two, four … up to half an
 * hour, and never longer than the interval; each up to a tenth shorter.
 * @param random 0 to 1
 */
export function waitAfter(failures: number, intervalMs: number, random: number): number {
  const whole =
    failures === 0 ? intervalMs : Math.min(intervalMs, MAX_RETRY_MS, FIRST_RETRY_MS * 2 ** (failures - 1));
  return whole * (1 - JITTER * random);
}

export interface ChecksOptions {
  /** For the log. */
  readonly name: string;
  /** @returns what is not well, as a sentence; a check that throws has failed too */
  readonly check: (signal: AbortSignal) => Promise<string | undefined>;
  /** Told of a check that threw. */
  readonly onError?: () => void;
  /** @param failures how many checks in a row did not end well @returns ms until the next one */
  readonly wait: (failures: number) => number;
  readonly registry: Registry;
  /** Where `/metrics` and `/healthz` are served, if anywhere. */
  readonly metrics: { readonly host: string; readonly port: number } | undefined;
  readonly log: Logger;
}

/** Checks that are made again and again until they are disposed. */
export interface Checks extends AsyncDisposable {
  /** Of metrics; undefined without them. */
  readonly port: number | undefined;
}

/**
 * Checks at once, and again after each wait. `/healthz` fails until a check has ended well, and while the last one did
 * not, with the reason.
 * @throws {ListenError} the address for metrics cannot be had
 */
export async function startChecks(options: ChecksOptions): Promise<Checks> {
  const { name, check, log } = options;
  await using stack = new ResourceStack();
  const stop = new AbortController();
  let failing: string | undefined = "the first check has not ended yet";
  let port: number | undefined;
  if (options.metrics !== undefined) {
    const app = createApp({ log });
    const health = (): void => {
      if (failing !== undefined) throw new Error(failing);
    };
    addHealthAndMetrics(app, { registry: options.registry, health });
    port = stack.use(await listenHttp({ app, address: options.metrics })).port;
  }
  const loop = async (): Promise<void> => {
    for (let failures = 0; !stop.signal.aborted;) {
      try {
        failing = await check(stop.signal);
      } catch (err) {
        if (stop.signal.aborted) return;
        failing = errorMessage(err);
        options.onError?.();
        log.error({ err, failures: failures + 1 }, `${name}: a check failed; trying again: ${failing}`);
      }
      failures = failing === undefined ? 0 : failures + 1;
      await sleep(options.wait(failures), stop.signal).catch(() => {});
    }
  };
  const running = loop();
  stack.defer(async () => {
    stop.abort(new Error(`${name} is stopping`));
    await running;
  });
  const held = stack.move();
  return { port, [Symbol.asyncDispose]: () => held[Symbol.asyncDispose]() };
}
