import { Certbot } from "@dstack/acme";
import { type Checks, type Logger, createLogger, startChecks, waitAfter } from "@dstack/daemon";
import type { CertbotConfig } from "./config.js";
import { CertbotMetrics } from "./metrics.js";
import { certbotOptions } from "./parts.js";

/**
 * Checks and renews until disposed.
 * @throws {InputError} the configuration names a file that cannot be read
 */
export async function startCertbot(
  config: CertbotConfig,
  parts: { log?: Logger; force?: boolean } = {},
): Promise<Checks> {
  const log = parts.log ?? createLogger({ name: "certbot", level: config.log_level });
  const certbot = await Certbot.open(certbotOptions(config, log));
  const metrics = new CertbotMetrics();
  let force = parts.force ?? false;
  return startChecks({
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
  });
}
