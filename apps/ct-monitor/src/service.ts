import { type Checks, type Logger, ResourceStack, createLogger, startChecks } from "@dstack/daemon";
import type { PeerVerifier } from "@dstack/ra-tls";
import type { Alert } from "./alerts.js";
import type { CtMonitorConfig } from "./config.js";
import { KnownKeys } from "./known-keys.js";
import { lockState } from "./lock-state.js";
import { MonitorMetrics } from "./metrics.js";
import { Monitor } from "./monitor.js";
import { keyJudge, reachTproxies, teller } from "./parts.js";
import { CrtSh } from "./sources/crt-sh.js";
import { CtLog } from "./sources/ct-log.js";
import { MonitorState } from "./state.js";

export interface CtMonitorParts {
  readonly log?: Logger;
  readonly verifier?: PeerVerifier;
  /** ms */
  readonly now?: () => number;
  /** Ends the start. */
  readonly signal?: AbortSignal;
}

/** What a look at everything came to. */
export interface CheckResult {
  /** Alerts that nobody has acknowledged, of earlier looks too. */
  readonly alerts: readonly Alert[];
  /** What could not be checked, as sentences. */
  readonly failures: readonly string[];
}

/** Everything a monitor needs, opened. */
interface Opened extends AsyncDisposable {
  readonly monitor: Monitor;
  readonly metrics: MonitorMetrics;
  readonly logs: readonly CtLog[];
  readonly log: Logger;
}

/**
 * One look at everything, unknown keys given their time.
 * @throws {InputError} configuration or state that cannot be used
 */
export async function checkOnce(
  config: CtMonitorConfig,
  signal: AbortSignal,
  parts: CtMonitorParts = {},
): Promise<CheckResult> {
  await using opened = await open(config, parts, signal);
  const { monitor } = opened;
  const failures = await monitor.pass(signal);
  await monitor.settle(signal);
  return { alerts: monitor.alerts.open(), failures };
}

/** A running monitor. */
export interface CtMonitor extends Checks {
  alerts(): readonly Alert[];
}

/**
 * Looks again and again until disposed.
 * @throws {InputError} configuration or state that cannot be used
 */
export async function startCtMonitor(
  config: CtMonitorConfig,
  parts: CtMonitorParts = {},
): Promise<CtMonitor> {
  await using stack = new ResourceStack();
  const opened = stack.use(await open(config, parts, parts.signal ?? new AbortController().signal));
  const { monitor, metrics, logs, log } = opened;
  const checks = stack.use(
    await startChecks({
      name: "ct-monitor",
      async check(signal) {
        const failures = await monitor.pass(signal);
        for (const source of logs) {
          metrics.logSize.set({ source: source.name }, source.progress?.size ?? 0);
          metrics.logScanned.set({ source: source.name }, source.progress?.scanned ?? 0);
        }
        return failures.length > 0 ? failures.join("; ") : undefined;
      },
      wait() {
        const decision = (monitor.alerts.nextDecision() ?? Infinity) - Date.now();
        return Math.min(config.interval_secs * 1000, Math.max(decision, 1000));
      },
      registry: metrics.registry,
      metrics: config.metrics,
      log,
    }),
  );
  const held = stack.move();
  return {
    port: checks.port,
    alerts: () => monitor.alerts.open(),
    [Symbol.asyncDispose]: () => held[Symbol.asyncDispose](),
  };
}

async function open(config: CtMonitorConfig, parts: CtMonitorParts, signal: AbortSignal): Promise<Opened> {
  await using stack = new ResourceStack();
  const log = parts.log ?? createLogger({ name: "ct-monitor", level: config.log_level });
  const now = parts.now ?? Date.now;
  stack.use(await lockState(config.state_file));
  const state = await MonitorState.open(config.state_file, config.domain);
  if (!state.existed) log.warn({ path: config.state_file }, "there is no state yet: beginning anew");
  const metrics = new MonitorMetrics();
  const judge = await keyJudge(config, parts.verifier, log, signal);
  metrics.trustInsteadOfEvidence.set(Number(judge.by === "trust"));
  const keys = new KnownKeys(
    {
      tproxies: await reachTproxies(config, stack),
      judge,
      log,
      now,
      onRefused: (tproxy, count) => metrics.refusedKeys.set({ tproxy }, count),
    },
    state,
  );
  const logs = config.log.map(
    ({ url, monitoring_url: monitoringUrl, public_key: publicKey, mmd_secs, start }) =>
      new CtLog({ url, monitoringUrl, publicKey, mmdMs: mmd_secs * 1000, start, now }, state),
  );
  if (!config.crt_sh.enabled && config.log.some(({ start }) => start === "now")) {
    log.warn("what was logged before the first start is not looked at: enable crt_sh for the past");
  }
  const sources = [...(config.crt_sh.enabled ? [new CrtSh(config.crt_sh.url, state)] : []), ...logs];
  const monitor = new Monitor(
    {
      domain: config.domain,
      graceMs: config.grace_secs * 1000,
      blindAfterMs: config.blind_after_secs * 1000,
      since: config.since === undefined ? 0 : new Date(config.since).getTime() / 1000,
      acknowledged: config.acknowledged,
      tell: await teller(config),
      now,
      log,
      metrics,
    },
    state,
    keys,
    sources,
  );
  log.info(
    { sources: sources.map(({ name }) => name), tproxies: config.tproxy_url },
    `monitoring ${config.domain}...`,
  );
  const held = stack.move();
  return { monitor, metrics, logs, log, [Symbol.asyncDispose]: () => held[Symbol.asyncDispose]() };
}
