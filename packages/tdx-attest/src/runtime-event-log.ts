import { constants } from "node:fs";
import { mkdir, open, stat } from "node:fs/promises";
import { dirname } from "node:path";
import {
  type EventLogEntry,
  checkRuntimeEvents,
  parseEventLog,
  replayEventLog,
  runtimeEvent,
} from "@dstack/attestation";
import {
  InputError,
  fromHex,
  hex,
  readRegularFileIfAny,
  sameBytes,
  sha384,
  utf8,
  withProcessLock,
} from "@dstack/core";
import { DeviceError, type QuoteProvider } from "./quote-provider.js";

export const DEFAULT_RUNTIME_LOG = "/run/log/dstack/runtime_events.log";
/** The whole log goes into certificates of at most 64 KiB, beside a quote and the events of the boot. */
export const MAX_RUNTIME_LOG_BYTES = 40 * 1024;
/** A quote from hardware may take 30 s, and others may be waiting before us. */
const LOCK_TIMEOUT_MS = 120_000;

export interface RuntimeEventLogOptions {
  readonly provider: QuoteProvider;
  /** Default {@link DEFAULT_RUNTIME_LOG}. */
  readonly path?: string | undefined;
}

/**
 * The events that dstack and the app put into RTMR3, one JSON object a line. The file always replays to the register:
 * an event is written only after the register took it and was read back, under a lock that all processes share.
 *
 * A process that dies between extend and append leaves a register that no log explains. Nothing repairs that: whoever
 * wrote the missing event afterwards would only claim what was measured. Every open and extend is refused from then on
 * (`rtmr_mismatch`), until the guest starts again.
 */
export class RuntimeEventLog {
  readonly path: string;
  readonly #provider: QuoteProvider;
  readonly #lockName: string;

  private constructor(provider: QuoteProvider, path: string, lockName: string) {
    this.#provider = provider;
    this.path = path;
    this.#lockName = lockName;
  }

  /**
   * @throws {DeviceError} `rtmr_mismatch`: the log and the register already disagree
   * @throws {EvidenceError} the file is not an event log
   */
  static async open(options: RuntimeEventLogOptions): Promise<RuntimeEventLog> {
    const path = options.path ?? DEFAULT_RUNTIME_LOG;
    const dir = dirname(path);
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const { dev, ino } = await stat(dir);
    const log = new RuntimeEventLog(options.provider, path, `dstack-runtime-events:${dev}:${ino}`);
    await log.#locked(() => log.#consistentEntries());
    return log;
  }

  /**
   * Extends RTMR3 by an event and appends it to the log.
   * @param name at most 128 bytes, without colons and control characters
   * @throws {InputError} a bad name, or the log is full
   * @throws {DeviceError} `rtmr_mismatch`: the register does not hold what the log replays to. Nothing may go on then:
   *   quotes of this boot prove nothing any more.
   */
  async extend(name: string, payload: Uint8Array): Promise<EventLogEntry> {
    const entry = runtimeEvent(name, payload);
    const line = lineOf(entry);
    return this.#locked(async () => {
      const entries = await this.#consistentEntries();
      // In bytes, which readers bound: a log beyond that could not be read any more, and no quote be explained.
      const length = entries.reduce((sum, one) => sum + lineOf(one).length, line.length);
      if (length > MAX_RUNTIME_LOG_BYTES) {
        throw new InputError(
          `the event log is full: with "${name}" it would pass ${MAX_RUNTIME_LOG_BYTES} bytes`,
        );
      }
      const digest = fromHex(entry.digest);
      await this.#provider.extendRtmr(3, digest);
      // An interface that reports success without extending has been seen; only the register itself is believed.
      await this.#requireRegister(sha384(replayEventLog(entries)[3], digest), `after "${name}"`);
      await this.#append(line);
      return entry;
    });
  }

  /** The events in RTMR3 so far, oldest first. */
  async entries(): Promise<EventLogEntry[]> {
    return this.#locked(() => this.#readEntries());
  }

  /** JSON array of the boot's events and then the runtime events: what goes into certificates. */
  async eventLog(): Promise<string> {
    return this.#locked(() => this.#text());
  }

  /** A quote and the event log that belongs to it: no event comes between the two. */
  async quote(
    reportData: Uint8Array,
    signal?: AbortSignal,
  ): Promise<{ quote: Uint8Array; eventLog: string }> {
    return this.#locked(async () => {
      const quote = await this.#provider.getQuote(reportData, signal);
      return { quote, eventLog: await this.#text() };
    });
  }

  async #text(): Promise<string> {
    return JSON.stringify([...(await this.#provider.bootEvents()), ...(await this.#readEntries())]);
  }

  #locked<T>(work: () => Promise<T>): Promise<T> {
    return withProcessLock(this.#lockName, LOCK_TIMEOUT_MS, work);
  }

  async #readEntries(): Promise<EventLogEntry[]> {
    const bytes = await readRegularFileIfAny(this.path, MAX_RUNTIME_LOG_BYTES);
    const lines = new TextDecoder("utf-8", { fatal: true }).decode(bytes).split("\n");
    if (lines.pop() !== "") throw new InputError(`${this.path} does not end with a whole line`);
    const entries = parseEventLog(`[${lines.join(",")}]`);
    if (entries.some((entry) => entry.imr !== 3))
      throw new InputError(`${this.path} has events that are not RTMR3's`);
    checkRuntimeEvents(entries);
    return entries;
  }

  async #consistentEntries(): Promise<EventLogEntry[]> {
    const entries = await this.#readEntries();
    await this.#requireRegister(
      replayEventLog(entries)[3],
      `after the ${entries.length} events of ${this.path}`,
    );
    return entries;
  }

  async #requireRegister(expected: Uint8Array, when: string): Promise<void> {
    const found = await this.#provider.readRtmr(3);
    if (sameBytes(found, expected)) return;
    throw new DeviceError(
      "rtmr_mismatch",
      `RTMR3 does not hold what the event log replays to ${when}: ` +
        "this boot can prove nothing about itself any more, restart the guest",
      { found: hex(found), expected: hex(expected) },
    );
  }

  async #append(line: Uint8Array): Promise<void> {
    const { O_APPEND, O_CREAT, O_NOFOLLOW, O_WRONLY } = constants;
    const file = await open(this.path, O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW, 0o600);
    try {
      await file.writeFile(line);
      await file.sync();
    } finally {
      await file.close();
    }
  }
}

function lineOf(entry: EventLogEntry): Uint8Array {
  return utf8(`${JSON.stringify(entry)}\n`);
}
