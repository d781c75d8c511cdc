import { randomInt } from "node:crypto";
import { once } from "node:events";
import { connect } from "node:net";
import { errorMessage, withDeadline } from "@dstack/core";
import { DnsError } from "../errors.js";
import {
  CLASS,
  type Message,
  OPCODE,
  RCODE,
  type ResourceRecord,
  TYPE,
  decodeData,
  decodeMessage,
  encodeData,
  encodeMessage,
} from "./message.js";
import { type DnsProvider, type DnsRecord, recordText } from "./provider.js";
import { type TsigKey, checkAnswer, signMessage } from "./tsig.js";

export interface Rfc2136Options {
  /** The zone's primary server. */
  host: string;
  port?: number | undefined;
  /** Asked of the server unless given. */
  zone?: string | undefined;
  key: TsigKey;
  /** Seconds. */
  ttl?: number | undefined;
}

const ANSWER_LIMIT_MS = 10_000;
const RCODES: Record<number, string> = {
  1: "FORMERR",
  2: "SERVFAIL",
  3: "NXDOMAIN",
  4: "NOTIMP",
  5: "REFUSED",
  9: "NOTAUTH",
  10: "NOTZONE",
};

/** DNS UPDATE (RFC 2136) signed with TSIG (RFC 8945), over TCP: BIND, Knot, PowerDNS and others. */
export class Rfc2136 implements DnsProvider {
  readonly name = "DNS update";

  constructor(private readonly options: Rfc2136Options) {}

  async list<T extends DnsRecord["type"]>(
    type: T,
    name: string,
    signal: AbortSignal,
  ): Promise<Extract<DnsRecord, { type: T }>[]> {
    const { answers } = await this.#ask({ name, type: TYPE[type] }, signal);
    const records = answers.filter((answer) => answer.name === name).map(decodeData);
    return records.filter(
      (record): record is Extract<DnsRecord, { type: T }> => record !== undefined && record.type === type,
    );
  }

  async add(record: DnsRecord, signal: AbortSignal): Promise<void> {
    await this.#update(record, { class: CLASS.IN, ttl: this.options.ttl ?? 60 }, "adding", signal);
  }

  async remove(record: DnsRecord, signal: AbortSignal): Promise<void> {
    // RFC 2136 §2.5.4: class NONE deletes that very record from its set.
    await this.#update(record, { class: CLASS.NONE, ttl: 0 }, "removing", signal);
  }

  async #update(
    record: DnsRecord,
    form: Pick<ResourceRecord, "class" | "ttl">,
    doing: string,
    signal: AbortSignal,
  ): Promise<void> {
    const zone = this.options.zone ?? (await this.#zoneOf(record.name, signal));
    const change = { name: record.name, type: TYPE[record.type], ...form, data: encodeData(record) };
    const question = { name: zone, type: TYPE.SOA };
    const answer = await this.#exchange({ opcode: OPCODE.UPDATE, question, records: [change] }, signal);
    if (answer.rcode === RCODE.NOERROR) return;
    const what = `${doing} ${recordText(record)}`;
    const code = answer.rcode === RCODE.REFUSED || answer.rcode === RCODE.NOTAUTH ? "denied" : "refused";
    const hint = code === "denied" ? `: check that key ${this.options.key.name} may update zone ${zone}` : "";
    throw new DnsError(code, `the DNS server refused ${what}: ${rcodeName(answer.rcode)}${hint}`);
  }

  /** The owner of the SOA record that the server answers with, or puts beside a negative answer (RFC 2308 §3). */
  async #zoneOf(name: string, signal: AbortSignal): Promise<string> {
    const { answers, authorities } = await this.#ask({ name, type: TYPE.SOA }, signal);
    const soa = [...answers, ...authorities].find((record) => record.type === TYPE.SOA);
    if (soa !== undefined) return soa.name;
    throw new DnsError("zone_not_found", `the DNS server has no zone that contains ${name}`);
  }

  async #ask(question: Message["question"], signal: AbortSignal): Promise<Message> {
    const answer = await this.#exchange({ opcode: OPCODE.QUERY, question }, signal);
    if (answer.rcode === RCODE.NOERROR || answer.rcode === RCODE.NXDOMAIN) return answer;
    const code = answer.rcode === RCODE.REFUSED ? "zone_not_found" : "refused";
    throw new DnsError(
      code,
      `the DNS server does not answer for ${question.name}: ${rcodeName(answer.rcode)}`,
    );
  }

  async #exchange(
    request: { opcode: number; question: Message["question"]; records?: ResourceRecord[] },
    signal: AbortSignal,
  ): Promise<Message> {
    const id = randomInt(0x10000);
    const { host, port = 53, key } = this.options;
    const signed = signMessage(key, encodeMessage({ id, ...request }), Date.now());
    const what = `asking DNS server ${host}`;
    const bytes = await withDeadline(
      what,
      ANSWER_LIMIT_MS,
      (limit) => exchangeTcp({ host, port }, signed.message, limit),
      signal,
    ).catch((err: unknown) => {
      signal.throwIfAborted();
      throw new DnsError("unreachable", `${what}, port ${port}: ${errorMessage(err)}`, {}, { cause: err });
    });
    checkAnswer(key, bytes, signed.mac);
    const answer = decodeMessage(bytes);
    if (answer.id !== id) throw new DnsError("refused", "the DNS server answered another question");
    return answer;
  }
}

const rcodeName = (rcode: number): string => RCODES[rcode] ?? `code ${rcode}`;

/** One message there and one back, each behind its length (RFC 1035 §4.2.2). */
async function exchangeTcp(
  server: { host: string; port: number },
  message: Buffer,
  signal: AbortSignal,
): Promise<Buffer> {
  const socket = connect(server);
  const stop = (): void => void socket.destroy();
  signal.addEventListener("abort", stop, { once: true });
  try {
    await once(socket, "connect");
    const length = Buffer.alloc(2);
    length.writeUInt16BE(message.length);
    socket.write(Buffer.concat([length, message]));
    let got = Buffer.alloc(0);
    for await (const part of socket as AsyncIterable<Buffer>) {
      got = Buffer.concat([got, part]);
      if (got.length >= 2 && got.length >= 2 + got.readUInt16BE())
        return got.subarray(2, 2 + got.readUInt16BE());
    }
    throw new Error("it hung up before its answer was whole");
  } finally {
    signal.removeEventListener("abort", stop);
    socket.destroy();
  }
}
