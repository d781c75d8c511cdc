import type { RenewResult } from "@dstack/acme";
import { Counter, Gauge, type Registry, createRegistry } from "@dstack/daemon";
import type { Store } from "@dstack/store";

/** What Prometheus is told. */
export class CertbotMetrics {
  readonly registry: Registry = createRegistry();
  readonly #notAfter: Gauge;
  readonly #renewAt: Gauge;
  readonly #lastSuccess: Gauge;
  readonly #checks: Counter;

  constructor() {
    const registers = [this.registry];
    const gauge = (name: string, help: string): Gauge => new Gauge({ name, help, registers });
    this.#notAfter = gauge(
      "certbot_certificate_expiry_seconds",
      "Unix time at which the live certificate ends",
    );
    this.#renewAt = gauge(
      "certbot_renewal_due_seconds",
      "Unix time at which the live certificate is renewed",
    );
    this.#lastSuccess = gauge(
      "certbot_last_success_seconds",
      "Unix time of the last check that found or made all well",
    );
    this.#checks = new Counter({
      name: "certbot_checks_total",
      help: "Checks by their result",
      labelNames: ["result"],
      registers,
    });
    for (const result of ["renewed", "current", "failed"]) this.#checks.inc({ result }, 0);
  }

  /** For one node of several. */
  watchStore(store: Store): void {
    new Gauge({
      name: "certbot_store_reachable",
      help: "0 while etcd cannot be reached",
      registers: [this.registry],
      collect() {
        this.set(Number(store.trouble === undefined));
      },
    });
  }

  succeeded({ renewed, live, nextAt }: RenewResult, now: number): void {
    this.#checks.inc({ result: renewed ? "renewed" : "current" });
    this.#notAfter.set(live.notAfter.getTime() / 1000);
    this.#renewAt.set(nextAt / 1000);
    this.#lastSuccess.set(now / 1000);
  }

  failed(): void {
    this.#checks.inc({ result: "failed" });
  }
}
