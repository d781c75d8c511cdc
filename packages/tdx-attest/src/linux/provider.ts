import { type EventLogEntry, parseCcel } from "@dstack/attestation";
import { readRegularFileIfAny, sameBytes, sleep } from "@dstack/core";
import {
  REPORT_DATA_BYTES,
  RTMR_BYTES,
  requireExtendable,
  requireLength,
  requireRtmrIndex,
} from "../lengths.js";
import { DeviceError, type QuoteProvider, type RtmrIndex } from "../quote-provider.js";
import { requireReportData } from "../require-report-data.js";
import { deviceError } from "./device-error.js";
import { DeviceTurn, limited } from "./device-turn.js";
import { type NativeAddon, nativeAddon } from "./native-addon.js";
import { MAX_QGS_MESSAGE_BYTES, decodeGetQuoteResponse, encodeGetQuoteRequest } from "./qgs-message.js";
import { qgsPort } from "./qgs-port.js";
import { DEFAULT_MEASUREMENTS, extendRtmrFile, hasRtmrFiles, readRtmrFile } from "./rtmr-sysfs.js";
import { DEFAULT_CONFIGFS, hasTsmReports, tsmQuote } from "./tsm-report.js";

export const DEFAULT_DEVICE = "/dev/tdx_guest";
const DEFAULT_CCEL = "/sys/firmware/acpi/tables/data/CCEL";
/** VMADDR_CID_HOST: where the quote generation service of a host listens. */
const HOST_CID = 2;
/** Firmware sets 64 KiB aside for its log. */
const MAX_CCEL_BYTES = 512 * 1024;

/** The host has no service, or one that hangs up or talks nonsense. */
const QGS_MEANINGS = {
  ECONNREFUSED: "quote_failed",
  ECONNRESET: "quote_failed",
  EHOSTUNREACH: "quote_failed",
  ENETUNREACH: "quote_failed",
  EPIPE: "quote_failed",
  EMSGSIZE: "quote_failed",
  EAFNOSUPPORT: "no_device",
} as const;
const QUOTE_TRIES = 3;
const RETRY_PAUSE_MS = 200;

/** How long one waits for the device, in milliseconds. */
export interface DeviceLimits {
  /** One ioctl, or one register in sysfs. They take microseconds. */
  readonly callMs: number;
  /** One try for a quote. The kernel itself gives up after 30 s, and lets others wait for it meanwhile. */
  readonly quoteMs: number;
  /** One exchange with the host's quote generation service, which waits for the hardware. */
  readonly qgsMs: number;
  /** One quote with all its tries, and anybody's wait for the turn of theirs. */
  readonly totalMs: number;
}

const DEFAULT_LIMITS: DeviceLimits = { callMs: 10_000, quoteMs: 45_000, qgsMs: 30_000, totalMs: 120_000 };

export interface LinuxProviderOptions {
  /** Default {@link DEFAULT_DEVICE}. */
  readonly device?: string | undefined;
  /** Default {@link DEFAULT_CONFIGFS}. */
  readonly configfs?: string | undefined;
  /** Directory of the RTMR files, default {@link DEFAULT_MEASUREMENTS}. */
  readonly sysfs?: string | undefined;
  /** The firmware's event log, default the ACPI table CCEL. */
  readonly ccel?: string | undefined;
  /** Vsock port of the host's quote generation service; default what /etc/tdx-attest.conf says, else none. */
  readonly qgsPort?: number | undefined;
  /** Default the addon in `native/`, loaded when it is first needed. */
  readonly addon?: NativeAddon | undefined;
  /** Default: 10 s for a register or report, 45 s for a quote. */
  readonly limits?: Partial<DeviceLimits> | undefined;
}

type QuotePath = { by: "configfs"; dir: string } | { by: "qgs"; port: number };
type RtmrPath = { by: "sysfs"; dir: string } | { by: "ioctl" };

/**
 * TDX hardware as Linux offers it. Quotes come through configfs-tsm or, on kernels without it, over vsock from the
 * host; registers through sysfs or, on kernels without it, the driver's ioctl. What is found at the start is used to
 * the end: an interface that fails later is an error and is not replaced by another one.
 * @throws {DeviceError} `no_device` when there is no way to quotes
 */
export async function openLinuxProvider(options: LinuxProviderOptions = {}): Promise<LinuxProvider> {
  const limits = { ...DEFAULT_LIMITS, ...options.limits };
  const turn = new DeviceTurn(limits.totalMs);
  const quotes = await turn.run("looking for the way to quotes", limits.quoteMs, () =>
    findQuotePath(options),
  );
  const sysfs = options.sysfs ?? DEFAULT_MEASUREMENTS;
  const rtmrs: RtmrPath = (await hasRtmrFiles(sysfs)) ? { by: "sysfs", dir: sysfs } : { by: "ioctl" };
  return new LinuxProvider(options, limits, turn, quotes, rtmrs);
}

async function findQuotePath(options: LinuxProviderOptions): Promise<QuotePath> {
  const configfs = options.configfs ?? DEFAULT_CONFIGFS;
  const port = options.qgsPort ?? (await qgsPort());
  if (await hasTsmReports(configfs)) return { by: "configfs", dir: configfs };
  if (port !== undefined) return { by: "qgs", port };
  throw new DeviceError(
    "no_device",
    `no way to quotes: ${configfs} offers no TDX reports (Linux 6.7 or newer, module tdx_guest), ` +
      "and no port of a quote generation service is set in /etc/tdx-attest.conf",
  );
}

class LinuxProvider implements QuoteProvider {
  readonly kind = "tdx";
  readonly #device: string;
  readonly #ccel: string;
  readonly #quotes: QuotePath;
  readonly #rtmrs: RtmrPath;
  readonly #givenAddon: NativeAddon | undefined;
  readonly #limits: DeviceLimits;
  readonly #turn: DeviceTurn;

  constructor(
    options: LinuxProviderOptions,
    limits: DeviceLimits,
    turn: DeviceTurn,
    quotes: QuotePath,
    rtmrs: RtmrPath,
  ) {
    this.#device = options.device ?? DEFAULT_DEVICE;
    this.#ccel = options.ccel ?? DEFAULT_CCEL;
    this.#limits = limits;
    this.#turn = turn;
    this.#quotes = quotes;
    this.#rtmrs = rtmrs;
    this.#givenAddon = options.addon;
  }

  async getQuote(reportData: Uint8Array, signal?: AbortSignal): Promise<Uint8Array> {
    requireLength(reportData, REPORT_DATA_BYTES, "report data");
    const asked = reportData.slice();
    const quote = await limited("getting a quote", this.#limits.totalMs, "retryable", signal, (s) =>
      this.#tryQuote(asked, s),
    );
    requireReportData(quote, asked);
    return quote;
  }

  async getReport(reportData: Uint8Array): Promise<Uint8Array> {
    requireLength(reportData, REPORT_DATA_BYTES, "report data");
    return this.#call("getting a TDREPORT", () => this.#report(reportData));
  }

  async readRtmr(index: RtmrIndex): Promise<Uint8Array> {
    const i = requireRtmrIndex(index);
    const rtmrs = this.#rtmrs;
    if (rtmrs.by === "sysfs") return this.#call(`reading RTMR ${i}`, () => readRtmrFile(rtmrs.dir, i));
    const report = await this.getReport(new Uint8Array(REPORT_DATA_BYTES));
    return report.slice(720 + 48 * i, 768 + 48 * i); // TDINFO.RTMR[i] of TDREPORT_STRUCT
  }

  async extendRtmr(index: 3, digest: Uint8Array): Promise<void> {
    const i = requireExtendable(index);
    requireLength(digest, RTMR_BYTES, "digest");
    const asked = digest.slice();
    await this.#call(`extending RTMR ${i}`, () => this.#extend(i, asked));
  }

  async bootEvents(): Promise<EventLogEntry[]> {
    const bytes = await readRegularFileIfAny(this.#ccel, MAX_CCEL_BYTES);
    if (bytes === undefined) {
      throw new DeviceError("unsupported", `the firmware left no event log: ${this.#ccel} does not exist`);
    }
    return parseCcel(bytes);
  }

  #call<T>(what: string, call: () => Promise<T>): Promise<T> {
    // The addon keeps the limit itself, and a little earlier than the turn would: its error says more.
    return this.#turn.run(what, this.#limits.callMs + 500, call);
  }

  async #tryQuote(reportData: Uint8Array, signal: AbortSignal): Promise<Uint8Array> {
    const once = (): Promise<Uint8Array> => this.#quoteOnce(reportData);
    for (let attempt = 1; ; attempt++) {
      signal.throwIfAborted();
      try {
        return await this.#turn.run("a quote", this.#limits.quoteMs, once, signal);
      } catch (err) {
        const again = err instanceof DeviceError && err.code === "retryable";
        if (!again || attempt === QUOTE_TRIES) throw err;
      }
      await sleep(RETRY_PAUSE_MS * attempt, signal);
    }
  }

  async #quoteOnce(reportData: Uint8Array): Promise<Uint8Array> {
    if (this.#quotes.by === "configfs") return tsmQuote(this.#quotes.dir, reportData);
    const request = encodeGetQuoteRequest(await this.#report(reportData));
    const { port } = this.#quotes;
    let answer: Uint8Array;
    try {
      const { qgsMs } = this.#limits;
      const addon = this.#addon();
      answer = await addon.qgsRequest(HOST_CID, port, request, qgsMs, MAX_QGS_MESSAGE_BYTES);
    } catch (err) {
      const what = `asking the host's quote generation service (does it run, and listen on vsock port ${port}?)`;
      throw deviceError(err, what, QGS_MEANINGS);
    }
    return decodeGetQuoteResponse(new Uint8Array(answer));
  }

  async #report(reportData: Uint8Array): Promise<Uint8Array> {
    let report: Uint8Array;
    try {
      report = new Uint8Array(await this.#addon().getReport(this.#device, reportData, this.#limits.callMs));
    } catch (err) {
      throw deviceError(err, "getting a TDREPORT");
    }
    if (!sameBytes(report.slice(128, 192), reportData)) {
      throw new DeviceError(
        "device_failure",
        "the device gave a TDREPORT over other report data than was asked for",
      );
    }
    return report;
  }

  async #extend(index: 3, digest: Uint8Array): Promise<void> {
    if (this.#rtmrs.by === "sysfs") return extendRtmrFile(this.#rtmrs.dir, index, digest);
    try {
      await this.#addon().extendRtmr(this.#device, index, digest, this.#limits.callMs);
    } catch (err) {
      throw deviceError(err, `extending RTMR ${index}`);
    }
  }

  /** What it gives are Buffers, whose slices share memory: they go no further than the methods above. */
  #addon(): NativeAddon {
    return this.#givenAddon ?? nativeAddon();
  }
}
