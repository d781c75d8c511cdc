import { Certbot } from "@dstack/acme";
import { errorMessage, sleep } from "@dstack/core";
import {
  type Logger,
  ResourceStack,
  addHealthAndMetrics,
  createApp,
  createLogger,
  listenHttp,
} from "@dstack/daemon";
import type { CertbotConfig } from "./config.js";
import { CertbotMetrics } from "./metrics.js";
import { certbotOptions } from "./parts.js";

/** After a failure the next attempt comes sooner than the interval, but never so soon that a CA's limits are met. */
const FIRST_RETRY_MS = 60_000;

/** How long to wait after a pass: the interval, or after failures in a row one minute, two, four … up to that. */
export function waitAfter(failures: number, intervalMs: number): number {
  return failures === 0 ? intervalMs : Math.min(intervalMs, FIRST_RETRY_MS * 2 ** (failures - 1));
}

export interface CertbotService extends AsyncDisposable {
  /** Of metrics; undefined without them. */
  readonly port: number | undefined;
}

/**
 * Checks and renews until disposed.
 * @throws {InputError} the configuration names a file that cannot be read
 */
export async function startCertbot(
  config: CertbotConfig,
  parts: { log?: Logger; force?: boolean } = {},
): Promise<CertbotService> {
  await using stack = new ResourceStack();
  const log = parts.log ?? createLogger({ name: "certbot", level: config.log_level });
  const certbot = await Certbot.open(certbotOptions(config, log));
  const metrics = new CertbotMetrics();
  let failing: string | undefined = "the first check has not ended yet";
  let port: number | undefined;
  if (config.metrics !== undefined) {
    const app = createApp({ log });
    const health = (): void => {
      if (failing !== undefined) throw new Error(failing);
    };
    addHealthAndMetrics(app, { registry: metrics.registry, health });
    port = stack.use(await listenHttp({ app, address: config.metrics })).port;
  }
  const stop = new AbortController();
  const intervalMs = config.renew_interval * 1000;
  const loop = async (): Promise<void> => {
    let force = parts.force ?? false;
    for (let failures = 0; !stop.signal.aborted;) {
      try {
        metrics.succeeded(await certbot.renew({ force }, stop.signal), Date.now());
        failing = undefined;
        failures = 0;
        force = false;
      } catch (err) {
        if (stop.signal.aborted) return;
        failures++;
        failing = errorMessage(err);
        metrics.failed();
        log.error({ err }, "renewing failed; trying again");
      }
      await sleep(waitAfter(failures, intervalMs), stop.signal).catch(() => {});
    }
  };
  const running = loop();
  stack.defer(async () => {
    stop.abort(new Error("certbot is stopping"));
    await running;
  });
  const held = stack.move();
  return { port, [Symbol.asyncDispose]: () => held[Symbol.asyncDispose]() };
}
