import {
  type Checks,
  type Logger,
  ResourceStack,
  createLogger,
  startChecks,
  waitAfter,
} from "@dstack/daemon";
import type { CertbotConfig } from "./config.js";
import { CertbotMetrics } from "./metrics.js";
import { openCertbot } from "./open-certbot.js";

/**
 * Checks and renews until disposed.
 * @throws {InputError} the configuration names a file that cannot be read
 * @throws {StoreError} etcd cannot be reached, and this node has not been in the cluster before
 */
export async function startCertbot(
  config: CertbotConfig,
  parts: { log?: Logger; force?: boolean } = {},
): Promise<Checks> {
  await using stack = new ResourceStack();
  const log = parts.log ?? createLogger({ name: "certbot", level: config.log_level });
  const { certbot, store } = stack.use(await openCertbot(config, log));
  const metrics = new CertbotMetrics();
  if (store !== undefined) metrics.watchStore(store);
  let force = parts.force ?? false;
  const checks = stack.use(
    await startChecks({
      name: "certbot",
      async check(signal) {
        metrics.succeeded(await certbot.renew({ force }, signal), Date.now());
        force = false;
        return undefined;
      },
      onError: () => metrics.failed(),
      wait: (failures) => waitAfter(failures, config.renew_interval * 1000, Math.random()),
      registry: metrics.registry,
      metrics: config.metrics,
      log,
    }),
  );
  const held = stack.move();
  return { port: checks.port, [Symbol.asyncDispose]: () => held[Symbol.asyncDispose]() };
}
