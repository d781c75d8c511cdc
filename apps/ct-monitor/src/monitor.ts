import { errorMessage, hex, sha256, sleep, withDeadline } from "@dstack/core";
import { isNameOf, mentions, readIssued } from "@dstack/ct";
import type { IssuedCertificate } from "@dstack/ct";
import type { Logger } from "@dstack/daemon";
import { AlertBook, alertId } from "./alerts.js";
import type { Alert } from "./alerts.js";
import { HttpError } from "./http.js";
import type { KnownKeys } from "./known-keys.js";
import type { MonitorMetrics } from "./metrics.js";
import { SourceLie } from "./sources/source.js";
import type { Found, Source, Watch } from "./sources/source.js";
import type { MonitorState } from "./state.js";

/** Longest list of names an alert repeats. */
const MAX_NAMES_TOLD = 20;
/** For one source at one look: the others are read again, and alerts told, when all are done. It goes on with the next. */
const SCAN_LIMIT_MS = 900_000;

export interface MonitorOptions {
  readonly domain: string;
  readonly graceMs: number;
  readonly blindAfterMs: number;
  /** Certificates that ended before are only counted: they cannot have been used since. Unix seconds. */
  readonly since: number;
  readonly acknowledged: readonly string[];
  /** Hands one alert on; throws when that failed. */
  readonly tell: ((alert: Alert, signal: AbortSignal) => Promise<void>) | undefined;
  readonly now: () => number;
  readonly log: Logger;
  readonly metrics: MonitorMetrics;
  /** Of a look at one source, in place of {@link SCAN_LIMIT_MS}. */
  readonly scanLimitMs?: number | undefined;
}

/**
 * Compares what sources have of a domain's certificates with the keys that are its tproxies'. Nothing stops it: a finding,
 * a source that lies or cannot be reached, a tproxy that is down; each becomes an alert, and the rest is checked.
 */
export class Monitor {
  readonly alerts: AlertBook;

  constructor(
    private readonly options: MonitorOptions,
    private readonly state: MonitorState,
    private readonly keys: KnownKeys,
    private readonly sources: readonly Source[],
  ) {
    this.alerts = new AlertBook(state.alerts(), {
      graceMs: options.graceMs,
      acknowledged: options.acknowledged,
      now: options.now,
      onOpen: (alert) => this.#onOpen(alert),
    });
    state.alerts = () => this.alerts.all();
  }

  /**
   * One look at everything. @returns what could not be checked, as sentences
   * @throws the signal's reason
   */
  async pass(signal: AbortSignal): Promise<string[]> {
    const failures: string[] = [];
    const attempt = async (name: string, work: () => Promise<void>): Promise<void> => {
      if (!this.state.checkedAt.has(name)) this.state.checkedAt.set(name, this.#time());
      try {
        await work();
        this.#checked(name);
      } catch (err) {
        signal.throwIfAborted();
        failures.push(`${name}: ${errorMessage(err)}`);
        this.#notChecked(name, err);
      }
    };
    await Promise.all(
      this.keys.urls.map((url) => attempt(`tproxy ${url}`, () => this.keys.refresh(url, signal))),
    );
    await Promise.all(this.sources.map((source) => attempt(source.name, () => this.#scan(source, signal))));
    await attempt("state", () => this.#decide(signal));
    return failures;
  }

  /** Waits until nothing waits for a decision any more. */
  async settle(signal: AbortSignal): Promise<void> {
    for (let next = this.alerts.nextDecision(); next !== undefined; next = this.alerts.nextDecision()) {
      await sleep(Math.max(0, next - this.options.now()), signal);
      await this.#decide(signal);
    }
  }

  #scan(source: Source, signal: AbortSignal): Promise<void> {
    const limitMs = this.options.scanLimitMs ?? SCAN_LIMIT_MS;
    return withDeadline(
      `reading ${source.name}`,
      limitMs,
      (limit) => source.scan(this.#watch(source), limit),
      signal,
    );
  }

  /** Judges what waits by the keys of now, writes all down, and hands alerts on. */
  async #decide(signal: AbortSignal): Promise<void> {
    const next = this.alerts.nextDecision();
    if (next !== undefined && next <= this.options.now()) {
      const refreshed = await Promise.allSettled(this.keys.urls.map((url) => this.keys.refresh(url, signal)));
      signal.throwIfAborted();
      for (const { reason: err } of refreshed.filter((one) => one.status === "rejected")) {
        this.options.log.warn({ err }, "deciding without the newest keys of a tproxy");
      }
    }
    this.alerts.decide((key) => this.keys.has(key));
    this.options.metrics.knownKeys.set(this.keys.count);
    await this.state.save();
    await this.#tell(signal);
    this.options.metrics.setOpen(this.alerts.open());
  }

  async #tell(signal: AbortSignal): Promise<void> {
    const { tell, log, metrics } = this.options;
    if (tell === undefined) return;
    for (const alert of this.alerts.open().filter(({ told }) => !told)) {
      try {
        await tell(alert, signal);
        this.alerts.markTold(alert.id);
        await this.state.save();
      } catch (err) {
        signal.throwIfAborted();
        metrics.webhookFailures.inc();
        log.error({ err, alert: alert.id }, "the webhook did not take an alert; trying again");
        // One that it refuses for what is in it must not keep the others from being told.
        if (!(err instanceof HttpError && refusesContent(err))) return;
      }
    }
  }

  #watch(source: Source): Watch {
    return {
      certificate: (found) => this.#certificate(found, source.name),
      unreadable: (bytes, where, why) => this.#unreadable(bytes, where, why),
      commit: async () => {
        this.alerts.decide((key) => this.keys.has(key));
        await this.state.save();
      },
    };
  }

  #certificate({ der, kind, where }: Found, source: string): ReturnType<Watch["certificate"]> {
    const { domain, log, metrics, since } = this.options;
    let read: IssuedCertificate;
    try {
      read = readIssued(der, kind);
    } catch (err) {
      this.#unreadable(der, where, errorMessage(err));
      return undefined;
    }
    const { serial } = read;
    if (!read.names.some((name) => isNameOf(name, domain))) return { ours: false, serial };
    metrics.certificates.inc({ source });
    const key = hex(sha256(read.spki));
    if (this.keys.has(key)) log.info({ where, key_sha256: key }, `✅ checked ${where}`);
    else if (read.notAfter < since)
      log.info({ where, key_sha256: key }, "unknown key, but it ended before since");
    else this.#suspect(read, key, where);
    return { ours: true, serial };
  }

  /** The final certificate has issuer, serial number and key of its precertificate: one alert for both. */
  #suspect(read: IssuedCertificate, key: string, where: string): void {
    const id = alertId("certificate", read.issuer, read.serial, read.spki);
    this.alerts.suspect("unknown_key", id, "certificate has issued to unknown pubkey", {
      where,
      names: read.names.slice(0, MAX_NAMES_TOLD).join(" "),
      issuer: read.issuerText,
      serial: hex(read.serial),
      not_before: new Date(read.notBefore * 1000).toISOString(),
      not_after: new Date(read.notAfter * 1000).toISOString(),
      key_sha256: key,
      public_key: hex(read.spki),
    });
  }

  #unreadable(bytes: Uint8Array, where: string, why: string): void {
    const { domain, log } = this.options;
    if (!mentions(bytes, domain))
      return log.debug({ where, why }, "an entry cannot be read; it is not about us");
    const id = alertId("unreadable", sha256(bytes));
    this.alerts.raise("unreadable", id, "a logged certificate mentions the domain and cannot be read", {
      where,
      why,
    });
  }

  #checked(name: string): void {
    this.state.checkedAt.set(name, this.#time());
    this.options.metrics.lastCheck.set({ source: name }, Math.floor(this.options.now() / 1000));
    this.alerts.endBlind(name);
  }

  #notChecked(name: string, err: unknown): void {
    const { log, metrics, now, blindAfterMs } = this.options;
    metrics.failures.inc({ source: name });
    log.error({ err, source: name }, "could not be checked");
    if (err instanceof SourceLie) {
      const facts = Object.fromEntries(
        Object.entries(err.details).map(([fact, value]) => [fact, String(value)]),
      );
      this.alerts.raise("lie", alertId("lie", name, err.code), `${name}: ${err.message}`, {
        source: name,
        ...facts,
      });
    }
    let last = this.state.checkedAt.get(name) ?? this.#time();
    if (Date.parse(last) > now()) {
      // The clock was set back; no source is trusted for the time that it was ahead.
      last = this.#time();
      this.state.checkedAt.set(name, last);
    }
    if (now() - Date.parse(last) < blindAfterMs) return;
    const message = `${name} could not be checked since ${last}: certificates may be missed`;
    this.alerts.raise("blind", alertId("blind", name, last), message, {
      source: name,
      why: errorMessage(err),
    });
  }

  #onOpen(alert: Alert): void {
    const { log, metrics } = this.options;
    metrics.alerts.inc({ kind: alert.kind });
    log.error({ alert: alert.id, kind: alert.kind, ...alert.facts }, `❌ ${alert.message}`);
  }

  #time(): string {
    return new Date(this.options.now()).toISOString();
  }
}

function refusesContent({ details }: HttpError): boolean {
  return [400, 413, 422].includes(Number(details["statusCode"]));
}
