import type { RenewResult } from "@dstack/acme";
import { Counter, Gauge, type Registry, createRegistry } from "@dstack/daemon";

/** What Prometheus is told. */
export class IngressMetrics {
  readonly registry: Registry = createRegistry();
  readonly #notAfter = this.#gauge(
    "certificate_expiry_seconds",
    "Unix time at which the certificate served ends",
  );
  readonly #lastSuccess = this.#gauge(
    "last_success_seconds",
    "Unix time of the last check that found or made DNS, certificate and evidence as they must be",
  );
  readonly #checks = this.#counter("checks_total", "Checks by their result", "result");
  readonly #replies = this.#counter(
    "replies_total",
    "Replies to clients by the first digit of their status",
    "status",
  );
  readonly #quotes = this.#counter(
    "quotes_total",
    "Fresh quotes asked for by a nonce, by the status of the reply",
    "status",
  );

  constructor() {
    for (const result of ["renewed", "current", "failed"]) this.#checks.inc({ result }, 0);
  }

  checked({ renewed }: RenewResult): void {
    this.#checks.inc({ result: renewed ? "renewed" : "current" });
    this.#lastSuccess.set(Date.now() / 1000);
  }

  failed(): void {
    this.#checks.inc({ result: "failed" });
  }

  serves(notAfter: Date): void {
    this.#notAfter.set(notAfter.getTime() / 1000);
  }

  replied(status: number): void {
    this.#replies.inc({ status: `${Math.floor(status / 100)}xx` });
  }

  quoted(status: number): void {
    this.#quotes.inc({ status: String(status) });
  }

  #gauge(name: string, help: string): Gauge {
    return new Gauge({ name: `ingress_${name}`, help, registers: [this.registry] });
  }

  #counter<T extends string>(name: string, help: string, label: T): Counter<T> {
    return new Counter({ name: `ingress_${name}`, help, labelNames: [label], registers: [this.registry] });
  }
}
