import { hex, sha256 } from "@dstack/core";
import { z } from "zod";

/**
 * `unknown_key`: a certificate for a key that is not tproxy's. `unreadable`: a logged certificate that mentions the domain
 * and that we cannot read. `lie`: a source contradicts itself or what it said before. `blind`: something could not be
 * checked for too long. `overflow`: there were more alerts than are kept.
 */
export const ALERT_KINDS = ["unknown_key", "unreadable", "lie", "blind", "overflow"] as const;

/** What a person has to know. */
export const Alert = z.strictObject({
  /** Names it in `acknowledged`: the same thing found twice is one alert. */
  id: z.string().regex(/^[0-9a-f]{16}$/),
  kind: z.enum(ALERT_KINDS),
  /** `waiting`: a new key that tproxy may be about to tell. `over`: was `blind`, and sees again; only in older files. */
  state: z.enum(["waiting", "open", "over"]),
  since: z.iso.datetime(),
  message: z.string(),
  facts: z.record(z.string(), z.string()),
  /** The webhook has taken it. */
  told: z.boolean(),
});
export type Alert = z.infer<typeof Alert>;

/** Fewer than anybody will read; bounds the state file against a source that makes things up. */
export const MAX_ALERTS = 1000;

/** Longest fact that is told: a log may show certificates that nobody issued, as large as it likes. */
const MAX_FACT_LENGTH = 2048;

/** An alert's id from what it is about. */
export function alertId(...about: (string | Uint8Array)[]): string {
  return hex(
    sha256(JSON.stringify(about.map((part) => (typeof part === "string" ? part : hex(part))))),
  ).slice(0, 16);
}

export interface AlertBookOptions {
  readonly graceMs: number;
  /** Ids that a person has looked at. */
  readonly acknowledged: readonly string[];
  readonly now: () => number;
  /** Each alert once, when it becomes one. */
  readonly onOpen: (alert: Alert) => void;
}

/** All alerts there were. None goes away by itself, a blind spot that is over excepted: a person acknowledges it. */
export class AlertBook {
  readonly #alerts = new Map<string, Alert>();

  constructor(
    alerts: readonly Alert[],
    private readonly options: AlertBookOptions,
  ) {
    for (const alert of alerts) if (alert.state !== "over") this.#alerts.set(alert.id, alert);
  }

  all(): Alert[] {
    return [...this.#alerts.values()];
  }

  /** Those that nobody has acknowledged. */
  open(): Alert[] {
    const seen = new Set(this.options.acknowledged);
    return this.all().filter(({ state, id }) => state === "open" && !seen.has(id));
  }

  waiting(): Alert[] {
    return this.all().filter(({ state }) => state === "waiting");
  }

  /** When the first waiting alert has waited long enough, ms. */
  nextDecision(): number | undefined {
    const times = this.waiting().map((alert) => this.#decisionOf(alert));
    return times.length === 0 ? undefined : Math.min(...times);
  }

  /** Opens an alert, unless it is there. */
  raise(kind: Alert["kind"], id: string, message: string, facts: Record<string, string>): void {
    if (this.#alerts.has(id)) return;
    if (!this.#makeRoom()) return this.#overflow();
    this.options.onOpen(this.#add(kind, id, "open", message, facts));
  }

  /** Notes an alert that is one only if tproxy does not tell the key soon. */
  suspect(kind: Alert["kind"], id: string, message: string, facts: Record<string, string>): void {
    if (this.#alerts.has(id)) return;
    if (this.#makeRoom()) this.#add(kind, id, "waiting", message, facts);
    else this.#overflow();
  }

  /** Ends a source's blind spot. The next one is another alert: who acknowledged this one knows nothing of it. */
  endBlind(source: string): void {
    for (const { id, kind, facts } of this.all()) {
      if (kind === "blind" && facts["source"] === source) this.#alerts.delete(id);
    }
  }

  /** Decides about those that waited long enough; those whose key is known by now go away at once. */
  decide(isKnown: (keySha256: string) => boolean): void {
    for (const alert of this.waiting()) {
      if (isKnown(alert.facts["key_sha256"] ?? "")) this.#alerts.delete(alert.id);
      else if (this.options.now() >= this.#decisionOf(alert)) {
        const opened: Alert = { ...alert, state: "open" };
        this.#alerts.set(alert.id, opened);
        this.options.onOpen(opened);
      }
    }
  }

  markTold(id: string): void {
    const alert = this.#alerts.get(id);
    if (alert !== undefined) this.#alerts.set(id, { ...alert, told: true });
  }

  /** A clock that was set back makes nothing wait longer. */
  #decisionOf({ since }: Alert): number {
    const from = Date.parse(since);
    const { graceMs } = this.options;
    const now = this.options.now();
    return from > now + graceMs ? now : from + graceMs;
  }

  /** What was acknowledged goes first: nobody would hear of it again anyway. */
  #makeRoom(): boolean {
    if (this.#alerts.size < MAX_ALERTS) return true;
    for (const id of this.options.acknowledged) this.#alerts.delete(id);
    return this.#alerts.size < MAX_ALERTS;
  }

  #overflow(): void {
    if (this.all().some(({ kind }) => kind === "overflow")) return;
    // Another one after each that was acknowledged.
    const id = alertId("overflow", String(this.options.now()));
    const message = `there are more than ${MAX_ALERTS} alerts: further ones are not kept`;
    this.options.onOpen(this.#add("overflow", id, "open", message, {}));
  }

  #add(
    kind: Alert["kind"],
    id: string,
    state: Alert["state"],
    message: string,
    facts: Record<string, string>,
  ): Alert {
    const since = new Date(this.options.now()).toISOString();
    const bounded = Object.fromEntries(Object.entries(facts).map(([name, fact]) => [name, shortened(fact)]));
    const alert: Alert = { id, kind, state, since, message, facts: bounded, told: false };
    this.#alerts.set(id, alert);
    return alert;
  }
}

function shortened(fact: string): string {
  if (fact.length <= MAX_FACT_LENGTH) return fact;
  return `${fact.slice(0, MAX_FACT_LENGTH)}… (${fact.length} characters)`;
}
