import { Counter, Gauge, type Registry, createRegistry } from "@dstack/daemon";
import { ALERT_KINDS } from "./alerts.js";
import type { Alert } from "./alerts.js";

/** What Prometheus is told. */
export class MonitorMetrics {
  readonly registry: Registry = createRegistry();
  readonly knownKeys = this.#gauge("known_keys", "Keys that certificates may be for");
  readonly refusedKeys = this.#gauge(
    "refused_keys",
    "Keys that a tproxy tells without good evidence",
    "tproxy",
  );
  readonly trustInsteadOfEvidence = this.#gauge(
    "insecure_keys_on_trust",
    "1 when keys are tproxy's word only",
  );
  readonly certificates = this.#counter(
    "certificates_total",
    "Certificates of the domain that were read",
    "source",
  );
  readonly alerts = this.#counter("alerts_total", "Alerts since the start", "kind");
  readonly alertsOpen = this.#gauge("alerts_open", "Alerts that nobody has acknowledged", "kind");
  readonly lastCheck = this.#gauge(
    "last_check_seconds",
    "Unix time at which a source was last checked to its end",
    "source",
  );
  readonly failures = this.#counter(
    "check_failures_total",
    "Checks that did not come to their end",
    "source",
  );
  readonly logSize = this.#gauge("log_size", "Entries of a log, by its newest head", "source");
  readonly logScanned = this.#gauge("log_scanned", "Entries of a log that were read and verified", "source");
  readonly webhookFailures = this.#counter("webhook_failures_total", "Alerts that the webhook did not take");

  constructor() {
    for (const kind of ALERT_KINDS) this.alerts.inc({ kind }, 0);
    this.trustInsteadOfEvidence.set(0);
  }

  setOpen(alerts: readonly Alert[]): void {
    for (const kind of ALERT_KINDS) {
      this.alertsOpen.set({ kind }, alerts.filter((alert) => alert.kind === kind).length);
    }
  }

  #gauge<T extends string>(name: string, help: string, ...labelNames: T[]): Gauge<T> {
    return new Gauge({ name: `ct_monitor_${name}`, help, labelNames, registers: [this.registry] });
  }

  #counter<T extends string>(name: string, help: string, ...labelNames: T[]): Counter<T> {
    return new Counter({ name: `ct_monitor_${name}`, help, labelNames, registers: [this.registry] });
  }
}
