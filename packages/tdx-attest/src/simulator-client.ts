import { request as httpRequest } from "node:http";
import type { EventLogEntry } from "@dstack/attestation";
import { errorMessage, fromHex, hex, withDeadline } from "@dstack/core";
import {
  REPORT_DATA_BYTES,
  RTMR_BYTES,
  requireExtendable,
  requireLength,
  requireRtmrIndex,
} from "./lengths.js";
import { DeviceError, type QuoteProvider, type RtmrIndex } from "./quote-provider.js";
import { requireReportData } from "./require-report-data.js";
import {
  SIMULATOR_OPERATIONS,
  type SimulatorOperation,
  type SimulatorRequest,
  type SimulatorResponse,
} from "./simulator-protocol.js";

const TIMEOUT_MS = 10_000;
/** A launch has at most some hundred events. */
const MAX_ANSWER_CHARS = 1024 * 1024;

/** The simulated platform as a guest sees it: the simulator service behind its unix socket. NOT hardware. */
export class SimulatorClient implements QuoteProvider {
  readonly kind = "simulated";
  readonly #socketPath: string;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  async getQuote(reportData: Uint8Array, signal?: AbortSignal): Promise<Uint8Array> {
    requireLength(reportData, REPORT_DATA_BYTES, "report data");
    const quote = fromHex((await this.#call("quote", { report_data: hex(reportData) }, signal)).quote);
    requireReportData(quote, reportData);
    return quote;
  }

  async getReport(reportData: Uint8Array): Promise<Uint8Array> {
    requireLength(reportData, REPORT_DATA_BYTES, "report data");
    return fromHex((await this.#call("report", { report_data: hex(reportData) })).report);
  }

  async readRtmr(index: RtmrIndex): Promise<Uint8Array> {
    return fromHex((await this.#call("read", { index: requireRtmrIndex(index) })).value);
  }

  async extendRtmr(index: 3, digest: Uint8Array): Promise<void> {
    requireLength(digest, RTMR_BYTES, "digest");
    await this.#call("extend", { index: requireExtendable(index), digest: hex(digest) });
  }

  async bootEvents(): Promise<EventLogEntry[]> {
    return (await this.#call("events", {})).events;
  }

  async #call<Op extends SimulatorOperation>(
    operation: Op,
    body: SimulatorRequest<Op>,
    signal?: AbortSignal,
  ): Promise<SimulatorResponse<Op>> {
    const what = `asking the simulator for "${operation}"`;
    let answer;
    try {
      answer = await withDeadline(
        what,
        TIMEOUT_MS,
        (s) => post(this.#socketPath, operation, body, s),
        signal,
      );
    } catch (err) {
      signal?.throwIfAborted();
      throw new DeviceError("device_failure", `${what}: ${errorMessage(err)}`, {}, { cause: err });
    }
    if (answer.status !== 200)
      throw new DeviceError("device_failure", `${what}: ${answer.text.slice(0, 500)}`);
    return SIMULATOR_OPERATIONS[operation].response.parse(JSON.parse(answer.text));
  }
}

function post(
  socketPath: string,
  operation: string,
  body: unknown,
  signal: AbortSignal,
): Promise<{ status: number; text: string }> {
  return new Promise((resolve, reject) => {
    const headers = { "content-type": "application/json" };
    const call = httpRequest(
      { socketPath, path: `/${operation}`, method: "POST", headers, signal },
      (response) => {
        let text = "";
        response.setEncoding("utf8");
        response.on("data", (chunk: string) => {
          text += chunk;
          if (text.length > MAX_ANSWER_CHARS) call.destroy(new Error("the answer is too long"));
        });
        response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
        response.on("error", reject);
      },
    );
    call.on("error", reject);
    call.end(JSON.stringify(body));
  });
}
