import type { Kind } from "./contenders/contender.js";
import type { Load } from "./ends.js";
import type { namesOf } from "./site.js";

const GIB = 2 ** 30;
const MIB = 2 ** 20;

/** Work whose cost in the proxy's processor time is measured. */
export interface Row {
  readonly name: string;
  /** Ours ÷ HAProxy at its best is to be at most this. */
  readonly goal: number;
  readonly kind: Kind;
  /** The name that clients ask for. */
  readonly ask: keyof ReturnType<typeof namesOf>;
  readonly load: Load;
  /** What the cost is told for, and how many of them there are. */
  readonly unit: "connection" | "handshake" | "request" | "GiB";
  readonly units: number;
}

const ANSWER_BYTES = 200;

function connections(speech: Load["speech"], count: number, atOnce: number): Load {
  return { speech, atOnce, connections: count, requestsEach: 1, answerBytes: ANSWER_BYTES };
}

function bulk(speech: Load["speech"], count: number, answerBytes: number): Load {
  return { speech, atOnce: count, connections: count, requestsEach: 1, answerBytes };
}

/** Small requests on 16 connections that stay open. */
export function smallRequests(requests: number): Load {
  return {
    speech: "canned",
    atOnce: 16,
    connections: 16,
    requestsEach: Math.ceil(requests / 16),
    answerBytes: ANSWER_BYTES,
  };
}

/** The goal table of the design, as far as it is about processor time. `scale` of 1 is a whole run. */
export function rows(scale: number): Row[] {
  const n = (count: number): number => Math.ceil(count * scale);
  return [
    {
      name: "raw passthrough connection",
      ...{ goal: 0.9, kind: "pass", ask: "canned", unit: "connection", units: n(8000) },
      load: connections("canned", n(8000), 64),
    },
    {
      name: "passthrough TLS, full",
      ...{ goal: 0.8, kind: "pass", ask: "passed", unit: "handshake", units: n(1500) },
      load: connections("tls", n(1500), 32),
    },
    {
      name: "passthrough TLS, resumed",
      ...{ goal: 0.8, kind: "pass", ask: "passed", unit: "handshake", units: n(2500) },
      load: connections("resumed", n(2500), 32),
    },
    {
      name: "passthrough bulk, 1 connection",
      ...{ goal: 1, kind: "pass", ask: "canned", unit: "GiB", units: scale },
      load: bulk("canned", 1, GIB * scale),
    },
    {
      name: "passthrough bulk, 16 connections",
      ...{ goal: 1, kind: "pass", ask: "canned", unit: "GiB", units: scale },
      load: bulk("canned", 16, 64 * MIB * scale),
    },
    {
      name: "small keep-alive request",
      ...{ goal: 0.8, kind: "pass", ask: "canned", unit: "request", units: n(30_000) },
      load: smallRequests(n(30_000)),
    },
    {
      name: "terminated TLS 1.3 handshake, full",
      ...{ goal: 0.8, kind: "end", ask: "ended", unit: "handshake", units: n(1500) },
      load: connections("tls", n(1500), 32),
    },
    {
      name: "terminated TLS 1.3 handshake, resumed",
      ...{ goal: 0.8, kind: "end", ask: "ended", unit: "handshake", units: n(2500) },
      load: connections("resumed", n(2500), 32),
    },
    {
      name: "terminated bulk, 1 connection",
      ...{ goal: 0.65, kind: "end", ask: "ended", unit: "GiB", units: 0.5 * scale },
      load: bulk("tls", 1, 512 * MIB * scale),
    },
    {
      name: "terminated bulk, 16 connections",
      ...{ goal: 0.65, kind: "end", ask: "ended", unit: "GiB", units: 0.5 * scale },
      load: bulk("tls", 16, 32 * MIB * scale),
    },
  ];
}
