import { errorMessage, withDeadline } from "@dstack/core";
import type { GuestSystem, ProgressLine } from "./guest-system.js";

/** The steps of a boot, in their order. */
export type StepName =
  | "prepare"
  | "read-share"
  | "identity"
  | "ra-tls"
  | "kms"
  | "data-disk"
  | "environment"
  | "wireguard"
  | "system-ready"
  | "tappd"
  | "compose";

/** A boot that stopped. The message names the step and says what went wrong; it is shown to the operator. */
export class BootError extends Error {
  override name = "BootError";
  constructor(
    readonly step: StepName,
    cause: unknown,
  ) {
    super(`${step}: ${sentence(cause)}`, { cause });
  }
}

/** Lines above this are cut: a hostile or broken child must not fill the host's log through us. */
const MAX_MESSAGE_CHARS = 1000;

function sentence(err: unknown): string {
  const text = errorMessage(err).replace(/\s+/g, " ").trim();
  return text.length > MAX_MESSAGE_CHARS ? `${text.slice(0, MAX_MESSAGE_CHARS)}…` : text;
}

/** Runs named steps under their time limits and tells the host about each. */
export class Stepper {
  readonly #system: Pick<GuestSystem, "report">;
  readonly #signal: AbortSignal;

  constructor(system: Pick<GuestSystem, "report">, signal: AbortSignal) {
    this.#system = system;
    this.#signal = signal;
  }

  /**
   * @param limitMs the step fails when it takes longer
   * @throws {BootError}
   */
  async run<T>(step: StepName, limitMs: number, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    await this.#report(step, "start");
    const began = performance.now();
    try {
      const result = await withDeadline(`the step ${step}`, limitMs, work, this.#signal);
      await this.#report(step, "done", `${((performance.now() - began) / 1000).toFixed(1)} s`);
      return result;
    } catch (err) {
      const failure = new BootError(step, err);
      await this.#report(step, "error", failure.message);
      throw failure;
    }
  }

  /** Tells the host something worth knowing in the middle of a step. */
  async info(step: StepName, message: string): Promise<void> {
    await this.#report(step, "info", message);
  }

  /** The last line: the app runs. */
  async ready(): Promise<void> {
    await this.#system.report({ at: new Date().toISOString(), step: "ready", state: "done" });
  }

  async #report(step: StepName, state: ProgressLine["state"], message?: string): Promise<void> {
    const line = { at: new Date().toISOString(), step, state };
    await this.#system.report(message === undefined ? line : { ...line, message });
  }
}
