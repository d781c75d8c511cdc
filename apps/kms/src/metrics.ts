import { Counter, Gauge } from "@dstack/daemon";
import type { Registry } from "@dstack/daemon";

/** What operators watch. The three gauges say when this KMS must not be trusted with real secrets. */
export interface KmsMetrics {
  readonly released: Counter<"anchor">;
  readonly refused: Counter<"rule">;
  readonly handovers: Counter;
}

export function registerMetrics(
  registry: Registry,
  insecure: { simulatedRoots: number; allowAllMeasurements: boolean; allowAnyUpgrade: boolean },
): KmsMetrics {
  const gauge = (name: string, help: string, value: number): void =>
    new Gauge({ name, help, registers: [registry] }).set(value);
  gauge("kms_insecure_simulated_roots", "Simulated root CAs that are trusted", insecure.simulatedRoots);
  gauge(
    "kms_insecure_allow_all_measurements",
    "1 when any image gets keys",
    Number(insecure.allowAllMeasurements),
  );
  gauge("kms_insecure_allow_any_upgrade", "1 when any upgrade is allowed", Number(insecure.allowAnyUpgrade));
  const registers = [registry];
  return {
    released: new Counter({
      name: "kms_app_keys_released_total",
      help: "Answered GetAppKey calls",
      labelNames: ["anchor"],
      registers,
    }),
    handovers: new Counter({
      name: "kms_root_key_handovers_total",
      help: "Replicas that were given the root key",
      registers,
    }),
    refused: new Counter({
      name: "kms_app_keys_refused_total",
      help: "GetAppKey calls of attested callers that were refused",
      labelNames: ["rule"],
      registers,
    }),
  };
}
