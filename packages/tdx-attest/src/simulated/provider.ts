import type { EventLogEntry } from "@dstack/attestation";
import { fromHex, sha384 } from "@dstack/core";
import {
  REPORT_DATA_BYTES,
  RTMR_BYTES,
  requireExtendable,
  requireLength,
  requireRtmrIndex,
} from "../lengths.js";
import type { QuoteProvider, RtmrIndex } from "../quote-provider.js";
import { type LaunchMeasurements, bareLaunch } from "./launch.js";
import type { SimulatedPlatform } from "./platform.js";
import type { QuoteOptions } from "./quote-writer.js";
import type { SimulatedTd } from "./td-report.js";

export interface SimulatedProviderParts {
  readonly platform: SimulatedPlatform;
  /** Default: a launch that belongs to no image. */
  readonly launch?: LaunchMeasurements | undefined;
  /** Fields that differ from a good production TD. */
  readonly td?: Partial<Omit<SimulatedTd, "mrTd" | "rtmr">> | undefined;
  readonly quote?: QuoteOptions | undefined;
}

/** One simulated trust domain: holds its registers and gets its quotes signed by the platform. NOT hardware. */
export class SimulatedProvider implements QuoteProvider {
  readonly kind = "simulated";
  readonly #parts: SimulatedProviderParts;
  readonly #mrTd: Uint8Array;
  readonly #rtmr: [Uint8Array, Uint8Array, Uint8Array, Uint8Array];
  readonly #events: readonly EventLogEntry[];

  constructor(parts: SimulatedProviderParts) {
    const launch = parts.launch ?? bareLaunch();
    const register = (text: string, name: string): Uint8Array => fromHex(text, name, RTMR_BYTES);
    this.#parts = parts;
    this.#mrTd = register(launch.mrtd, "mrtd");
    this.#rtmr = [
      register(launch.rtmr0, "rtmr0"),
      register(launch.rtmr1, "rtmr1"),
      register(launch.rtmr2, "rtmr2"),
      new Uint8Array(RTMR_BYTES),
    ];
    this.#events = launch.events;
  }

  async getReport(reportData: Uint8Array): Promise<Uint8Array> {
    requireLength(reportData, REPORT_DATA_BYTES, "report data");
    return this.#parts.platform.report({ ...this.#parts.td, mrTd: this.#mrTd, rtmr: this.#rtmr }, reportData);
  }

  async getQuote(reportData: Uint8Array, signal?: AbortSignal): Promise<Uint8Array> {
    signal?.throwIfAborted();
    return this.#parts.platform.quoteReport(await this.getReport(reportData), this.#parts.quote);
  }

  async readRtmr(index: RtmrIndex): Promise<Uint8Array> {
    return this.#rtmr[requireRtmrIndex(index)].slice();
  }

  async extendRtmr(index: 3, digest: Uint8Array): Promise<void> {
    const i = requireExtendable(index);
    requireLength(digest, RTMR_BYTES, "digest");
    this.#rtmr[i] = sha384(this.#rtmr[i], digest);
  }

  async bootEvents(): Promise<EventLogEntry[]> {
    return this.#events.map((event) => ({ ...event }));
  }
}

/** A simulated trust domain in this process, freshly started: RTMR3 is zero. */
export function createSimulatedProvider(parts: SimulatedProviderParts): SimulatedProvider {
  return new SimulatedProvider(parts);
}
