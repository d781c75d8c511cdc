import { z } from "zod";
import { DnsError } from "../errors.js";
import { suffixes } from "../names.js";
import { callDnsApi } from "./api.js";
import { type DnsProvider, type DnsRecord, recordText, sameRecord } from "./provider.js";

export const CLOUDFLARE_API_URL = "https://api.cloudflare.com/client/v4";

export interface CloudflareOptions {
  apiToken: string;
  /** Looked up by the longest suffix the token can see unless given. */
  zoneId?: string | undefined;
  apiUrl?: string | undefined;
  /** Seconds; Cloudflare takes 60 and more. */
  ttl?: number | undefined;
}

const PER_PAGE = 100;
/** https://developers.cloudflare.com/api: "An identical record already exists." */
const RECORD_EXISTS = 81058;

const Envelope = z.object({
  success: z.boolean(),
  errors: z.array(z.object({ code: z.number(), message: z.string() })).nullish(),
  result: z.unknown(),
  result_info: z.object({ page: z.number(), total_pages: z.number() }).nullish(),
});
type Envelope = z.infer<typeof Envelope>;

const Zones = z.array(z.object({ id: z.string(), name: z.string() }));
const Id = z.object({ id: z.string() });
const TxtAnswer = z.array(Id.extend({ name: z.string(), content: z.string() }));
const CaaAnswer = z.array(
  Id.extend({
    name: z.string(),
    data: z.object({ flags: z.number(), tag: z.string(), value: z.string() }),
  }),
);

const AddressAnswer = z.array(
  Id.extend({ type: z.string(), content: z.string(), proxied: z.boolean().optional() }),
);

type Stored = { id: string; record: DnsRecord };

/** Cloudflare shows TXT content in quotes or without, depending on how it was entered. */
const unquote = (content: string): string =>
  /^".*"$/.test(content) ? content.slice(1, -1).replaceAll('" "', "") : content;

/** Cloudflare's DNS records over its API v4. The token needs Zone:Read and DNS:Edit for the zone. */
export class Cloudflare implements DnsProvider {
  readonly name = "Cloudflare";
  readonly #zones = new Map<string, string>();

  constructor(private readonly options: CloudflareOptions) {}

  async list<T extends DnsRecord["type"]>(
    type: T,
    name: string,
    signal: AbortSignal,
  ): Promise<Extract<DnsRecord, { type: T }>[]> {
    const found = await this.#find(type, name, signal);
    return found.map(({ record }) => record as Extract<DnsRecord, { type: T }>);
  }

  async add(record: DnsRecord, signal: AbortSignal): Promise<void> {
    const zone = await this.#zoneOf(record.name, signal);
    const { flags, tag, value } = record.type === "CAA" ? record : { flags: 0, tag: "", value: "" };
    const content = record.type === "TXT" ? { content: `"${record.text}"` } : { data: { flags, tag, value } };
    const answer = await this.#call("POST", `/zones/${zone}/dns_records`, signal, {
      type: record.type,
      name: record.name,
      ttl: this.options.ttl ?? 60,
      ...content,
    });
    if (!answer.success && answer.errors?.every(({ code }) => code === RECORD_EXISTS) !== true) {
      throw this.#refusal(`adding ${recordText(record)}`, answer);
    }
  }

  async remove(record: DnsRecord, signal: AbortSignal): Promise<void> {
    const zone = await this.#zoneOf(record.name, signal);
    for (const stored of await this.#find(record.type, record.name, signal)) {
      if (!sameRecord(stored.record, record)) continue;
      const answer = await this.#call("DELETE", `/zones/${zone}/dns_records/${stored.id}`, signal);
      const gone = answer.success || answer.status === 404;
      if (!gone) throw this.#refusal(`removing ${recordText(record)}`, answer);
    }
  }

  /**
   * Makes a name an alias of another. An alias that is there is changed; other addresses are somebody's, and stay.
   * @returns whether anything had to be changed
   * @throws {DnsError} `refused`: the name has A or AAAA records
   */
  async setAlias(name: string, target: string, signal: AbortSignal): Promise<boolean> {
    const zone = await this.#zoneOf(name, signal);
    const path = `/zones/${zone}/dns_records`;
    const found: z.infer<typeof AddressAnswer> = [];
    for (const type of ["CNAME", "A", "AAAA"]) {
      const query = new URLSearchParams({ type, name, per_page: String(PER_PAGE) }).toString();
      found.push(...AddressAnswer.parse(await this.#pages(`${path}?${query}`, signal)));
    }
    const [alias, address] = [
      found.find(({ type }) => type === "CNAME"),
      found.find(({ type }) => type !== "CNAME"),
    ];
    const text = `${name} CNAME ${target}`;
    if (address !== undefined) {
      const { type, content } = address;
      const why = `its ${type} record ${content} is in the way. Remove it if ${name} shall lead to the app`;
      throw new DnsError("refused", `Cloudflare cannot hold ${text}: ${why}`);
    }
    // Behind Cloudflare's own proxy TLS would end there.
    if (alias?.content.toLowerCase() === target && alias.proxied !== true) return false;
    const record = { type: "CNAME", name, content: target, ttl: this.options.ttl ?? 60, proxied: false };
    const answer = await (alias === undefined
      ? this.#call("POST", path, signal, record)
      : this.#call("PUT", `${path}/${alias.id}`, signal, record));
    if (!answer.success) throw this.#refusal(`setting ${text}`, answer);
    return true;
  }

  async #find(type: DnsRecord["type"], name: string, signal: AbortSignal): Promise<Stored[]> {
    const zone = await this.#zoneOf(name, signal);
    const query = new URLSearchParams({ type, name, per_page: String(PER_PAGE) }).toString();
    const rows = await this.#pages(`/zones/${zone}/dns_records?${query}`, signal);
    if (type === "TXT") {
      return TxtAnswer.parse(rows).map(({ id, content }) => ({
        id,
        record: { type, name, text: unquote(content) },
      }));
    }
    return CaaAnswer.parse(rows).map(({ id, data }) => ({ id, record: { type, name, ...data } }));
  }

  async #zoneOf(name: string, signal: AbortSignal): Promise<string> {
    if (this.options.zoneId !== undefined) return this.options.zoneId;
    for (const suffix of suffixes(name)) {
      const known = this.#zones.get(suffix);
      if (known !== undefined) return known;
      const found = Zones.parse(await this.#pages(`/zones?name=${encodeURIComponent(suffix)}`, signal));
      const zone = found.find((candidate) => candidate.name === suffix);
      if (zone === undefined) continue;
      this.#zones.set(suffix, zone.id);
      return zone.id;
    }
    throw new DnsError(
      "zone_not_found",
      `Cloudflare shows this API token no zone that contains ${name}: give the token Zone:Read and DNS:Edit for it`,
    );
  }

  async #pages(path: string, signal: AbortSignal): Promise<unknown[]> {
    const rows: unknown[] = [];
    for (let page = 1; ; page++) {
      const answer = await this.#call("GET", `${path}&page=${page}`, signal);
      if (!answer.success) throw this.#refusal("reading records", answer);
      rows.push(...z.array(z.unknown()).parse(answer.result));
      if (page >= (answer.result_info?.total_pages ?? 1)) return rows;
    }
  }

  async #call(
    method: "GET" | "POST" | "PUT" | "DELETE",
    path: string,
    signal: AbortSignal,
    body?: unknown,
  ): Promise<Envelope & { status: number }> {
    const base = (this.options.apiUrl ?? CLOUDFLARE_API_URL).replace(/\/$/, "");
    const answer = await callDnsApi(this.name, base + path, {
      method,
      signal,
      headers: { authorization: `Bearer ${this.options.apiToken}`, "content-type": "application/json" },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
    try {
      return { ...Envelope.parse(JSON.parse(answer.text)), status: answer.status };
    } catch (err) {
      const said = `Cloudflare answers ${answer.status} with something that is not its API's form`;
      throw new DnsError("refused", `${said}: check the API URL ${base}`, {}, { cause: err });
    }
  }

  #refusal(what: string, answer: Envelope): DnsError {
    const errors = answer.errors ?? [];
    const why = errors.map(({ code, message }) => `${message} (${code})`).join("; ") || "no reason given";
    return new DnsError("refused", `Cloudflare refused ${what}: ${why}`);
  }
}
