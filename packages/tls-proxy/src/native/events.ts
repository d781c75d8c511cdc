import type { ConnectionReport, ConnectionState, OpenConnection } from "../data-plane.js";
import type { RouteMode } from "../destination.js";
import type { ServerName } from "../server-name.js";

/** What the engine says to us, in frames as `commands.ts` has them. */
const EVENT = {
  started: 1,
  failed: 2,
  lookup: 3,
  counts: 4,
  reports: 5,
  refusedCertificates: 6,
  connections: 7,
  done: 8,
} as const;

/** An event that is longer is not the engine's. */
const MAX_EVENT_BYTES = 1 << 24;

/** In the order of `enum outcome`. */
const OUTCOMES: readonly ConnectionReport["outcome"][] = [
  "finished",
  "reset",
  "idle",
  "total_time",
  "drained",
  "shutdown",
  "bad_proxy_header",
  "not_tls",
  "plain_http",
  "bad_hello",
  "slow_hello",
  "no_name",
  "unknown_name",
  "port_not_allowed",
  "too_many",
  "too_many_of_source",
  "too_many_of_app",
  "handshake_failed",
  "connect_failed",
  "client_gone",
  "internal_error",
];
/** In the order of `enum step`. */
const STATES: readonly ConnectionState[] = ["hello", "lookup", "handshake", "connecting", "relaying"];
/** In the order of `enum route_mode`. */
const MODES: readonly (RouteMode | undefined)[] = [undefined, "terminate", "http2", "passthrough"];

export type EngineEvent =
  | { readonly type: "started"; readonly ports: readonly number[] }
  /** `listener` is the index of the one that could not be opened. */
  | { readonly type: "failed"; readonly errno: number; readonly listener: number }
  | { readonly type: "lookup"; readonly number: bigint; readonly domain: ServerName; readonly source: string }
  | {
      readonly type: "counts";
      readonly open: number;
      /** Ids and what is open of them now, of those that have changed. */
      readonly apps: readonly (readonly [string, number])[];
      readonly instances: readonly (readonly [string, number])[];
    }
  | { readonly type: "reports"; readonly reports: readonly ConnectionReport[] }
  | { readonly type: "refusedCertificates" }
  /** Answers, by the number of the command. */
  | { readonly type: "connections"; readonly number: bigint; readonly open: readonly OpenConnection[] }
  | { readonly type: "done"; readonly number: bigint };

/** Puts events together from the chunks they come in. */
export class EventReader {
  #rest: Buffer = Buffer.alloc(0);

  /** @throws {RangeError} the engine says what it cannot say */
  *push(chunk: Buffer): Generator<EngineEvent> {
    let bytes = this.#rest.length === 0 ? chunk : Buffer.concat([this.#rest, chunk]);
    while (bytes.length >= 4) {
      const length = bytes.readUInt32BE();
      if (length === 0 || length > MAX_EVENT_BYTES)
        throw new RangeError("an event of the engine is too long");
      if (bytes.length < 4 + length) break;
      yield readEvent(new Fields(bytes.subarray(4, 4 + length)));
      bytes = bytes.subarray(4 + length);
    }
    this.#rest = bytes;
  }
}

/** Reading past the end throws a RangeError, as Buffer does. */
class Fields {
  #at = 0;
  constructor(readonly bytes: Buffer) {}

  get left(): number {
    return this.bytes.length - this.#at;
  }

  byte(): number {
    return this.bytes.readUInt8(this.#at++);
  }

  uint(size: 2 | 4): number {
    this.#at += size;
    return this.bytes.readUIntBE(this.#at - size, size);
  }

  uint64(): bigint {
    this.#at += 8;
    return this.bytes.readBigUInt64BE(this.#at - 8);
  }

  /** An amount: exact up to 2^53. */
  amount(): number {
    this.#at += 8;
    return this.bytes.readUInt32BE(this.#at - 8) * 2 ** 32 + this.bytes.readUInt32BE(this.#at - 4);
  }

  text(): string {
    return this.#take(this.byte(), "latin1");
  }

  id(): string {
    return this.#take(20, "hex");
  }

  #take(length: number, encoding: "latin1" | "hex"): string {
    if (length > this.left) throw new RangeError("an event of the engine is cut short");
    this.#at += length;
    return this.bytes.toString(encoding, this.#at - length, this.#at);
  }
}

function readEvent(fields: Fields): EngineEvent {
  switch (fields.byte()) {
    case EVENT.started: {
      const ports: number[] = [];
      while (fields.left > 0) ports.push(fields.uint(2));
      return { type: "started", ports };
    }
    case EVENT.failed:
      return { type: "failed", errno: fields.uint(4), listener: fields.byte() };
    case EVENT.lookup:
      // Its parser let it through: it has the form of a name.
      return {
        type: "lookup",
        number: fields.uint64(),
        domain: fields.text() as ServerName,
        source: fields.text(),
      };
    case EVENT.counts:
      return {
        type: "counts",
        open: fields.uint(4),
        apps: readCounts(fields),
        instances: readCounts(fields),
      };
    case EVENT.reports: {
      const reports: ConnectionReport[] = [];
      while (fields.left > 0) reports.push(readReport(fields));
      return { type: "reports", reports };
    }
    case EVENT.refusedCertificates:
      return { type: "refusedCertificates" };
    case EVENT.connections: {
      const number = fields.uint64();
      const open: OpenConnection[] = [];
      while (fields.left > 0) open.push(readOpen(fields));
      return { type: "connections", number, open };
    }
    case EVENT.done:
      return { type: "done", number: fields.uint64() };
    default:
      throw new RangeError("an event of the engine has an unknown type");
  }
}

function readCounts(fields: Fields): [string, number][] {
  const counts: [string, number][] = [];
  while (fields.byte() === 1) counts.push([fields.id(), fields.uint(4)]);
  return counts;
}

// These run for every connection there is: object spread, and numbers by way of BigInt, would double what they cost.

function readReport(fields: Fields): ConnectionReport {
  const outcome = OUTCOMES[fields.byte()];
  if (outcome === undefined) throw new RangeError("a report of the engine has an unknown outcome");
  const { source, serverName, mode, appId, instanceId, ageMs, bytesToApp, bytesToClient } = readFacts(fields);
  return {
    source,
    serverName,
    mode,
    appId,
    instanceId,
    outcome,
    handshakeMs: milliseconds(fields.amount()),
    connectMs: milliseconds(fields.amount()),
    durationMs: ageMs,
    bytesToApp,
    bytesToClient,
  };
}

function readOpen(fields: Fields): OpenConnection {
  const id = fields.amount();
  const state = STATES[fields.byte()];
  if (state === undefined) throw new RangeError("a connection of the engine has an unknown state");
  const { ageMs, ...facts } = readFacts(fields);
  return { id, state, since: Math.round(Date.now() - ageMs), ...facts };
}

type Facts = Omit<OpenConnection, "id" | "state" | "since"> & { readonly ageMs: number };

/** What a report and the list of open connections both say. */
function readFacts(fields: Fields): Facts {
  const source = fields.text();
  const name = fields.text();
  return {
    source,
    serverName: name === "" ? undefined : (name as ServerName),
    mode: MODES[fields.byte()],
    appId: fields.byte() === 1 ? fields.id() : undefined,
    instanceId: fields.byte() === 1 ? fields.id() : undefined,
    ageMs: fields.amount() / 1000,
    bytesToApp: fields.amount(),
    bytesToClient: fields.amount(),
  };
}

/** 0: there was none. */
function milliseconds(us: number): number | undefined {
  return us === 0 ? undefined : us / 1000;
}
