import { DnsError } from "../errors.js";
import { longestZone } from "../names.js";
import { callDnsApi } from "./api.js";
import { type AwsCredentials, awsHeaders } from "./aws-signature.js";
import { type DnsProvider, type DnsRecord, recordText, sameRecord } from "./provider.js";

export interface Route53Options extends AwsCredentials {
  /** Looked up among the public zones, longest suffix first, unless given. */
  zoneId?: string | undefined;
  apiUrl?: string | undefined;
  /** Seconds. */
  ttl?: number | undefined;
}

/** Route 53 is a global service; its requests are signed for this region. */
const REGION = "us-east-1";
const API_URL = "https://route53.amazonaws.com";
/** A set changed by somebody else between reading and writing is read again this often. */
const CONFLICT_ATTEMPTS = 5;

interface RecordSet {
  ttl: number;
  values: string[];
}

const unescapeXml = (text: string): string =>
  text.replace(/&(lt|gt|quot|apos|amp|#\d+|#x[0-9a-f]+);/gi, (_, name: string) => {
    const known: Record<string, string> = { lt: "<", gt: ">", quot: '"', apos: "'", amp: "&" };
    const code = name.startsWith("#x") ? Number.parseInt(name.slice(2), 16) : Number(name.slice(1));
    return known[name] ?? String.fromCodePoint(code);
  });
const escapeXml = (text: string): string => text.replace(/[<>&"']/g, (char) => `&#${char.codePointAt(0)};`);

/** The inner text of each `<name>`; Route 53 nests no element in one of its own name. */
function elements(xml: string, name: string): string[] {
  return [...xml.matchAll(new RegExp(`<${name}(?: [^>]*)?>(.*?)</${name}>`, "gs"))].map(
    ([, inner = ""]) => inner,
  );
}
const element = (xml: string, name: string): string => unescapeXml(elements(xml, name)[0] ?? "");

/** Zone-file text of a value, as Route 53 stores it. */
function valueText(record: DnsRecord): string {
  const quote = (text: string): string => `"${text.replace(/["\\]/g, "\\$&")}"`;
  return record.type === "TXT" ? quote(record.text) : `${record.flags} ${record.tag} ${quote(record.value)}`;
}

function parseValue(type: DnsRecord["type"], name: string, value: string): DnsRecord | undefined {
  const unquote = (text: string): string =>
    [...text.matchAll(/"((?:[^"\\]|\\.)*)"/g)].map(([, part = ""]) => part.replace(/\\(.)/g, "$1")).join("");
  if (type === "TXT") return { type, name, text: unquote(value) };
  const [, flags, tag, quoted] = /^(\d+) ([a-z0-9]+) (".*")$/i.exec(value) ?? [];
  if (flags === undefined || tag === undefined || quoted === undefined) return undefined;
  return { type, name, flags: Number(flags), tag, value: unquote(quoted) };
}

/**
 * Amazon Route 53. It keeps all records of a type at a name as one set, so that a change states the set as it was read
 * (`DELETE`) and as it shall be (`CREATE`); if somebody changed it in between, AWS refuses both and we read again.
 */
export class Route53 implements DnsProvider {
  readonly name = "Route 53";
  #zones: { name: string; id: string }[] | undefined;

  constructor(private readonly options: Route53Options) {}

  async list<T extends DnsRecord["type"]>(
    type: T,
    name: string,
    signal: AbortSignal,
  ): Promise<Extract<DnsRecord, { type: T }>[]> {
    const set = await this.#read(type, name, signal);
    const records = set?.values.map((value) => parseValue(type, name, value)) ?? [];
    return records.filter((record): record is Extract<DnsRecord, { type: T }> => record !== undefined);
  }

  async add(record: DnsRecord, signal: AbortSignal): Promise<void> {
    await this.#change(record, `adding ${recordText(record)}`, signal, (values, isSame) =>
      values.some(isSame) ? values : [...values, valueText(record)],
    );
  }

  async remove(record: DnsRecord, signal: AbortSignal): Promise<void> {
    await this.#change(record, `removing ${recordText(record)}`, signal, (values, isSame) =>
      values.filter((value) => !isSame(value)),
    );
  }

  async #change(
    record: DnsRecord,
    what: string,
    signal: AbortSignal,
    next: (values: string[], isSame: (value: string) => boolean) => string[],
  ): Promise<void> {
    const { type, name } = record;
    const isSame = (value: string): boolean => {
      const parsed = parseValue(type, name, value);
      return parsed !== undefined && sameRecord(parsed, record);
    };
    for (let attempt = 1; ; attempt++) {
      const before = await this.#read(type, name, signal);
      const values = next(before?.values ?? [], isSame);
      if (values.length === (before?.values.length ?? 0)) return;
      const changes = [
        ...(before === undefined ? [] : [changeXml("DELETE", record, before)]),
        ...(values.length === 0
          ? []
          : [changeXml("CREATE", record, { ttl: this.options.ttl ?? 60, values })]),
      ];
      const body = `<?xml version="1.0" encoding="UTF-8"?><ChangeResourceRecordSetsRequest xmlns="https://route53.amazonaws.com/doc/2013-04-01/"><ChangeBatch><Changes>${changes.join("")}</Changes></ChangeBatch></ChangeResourceRecordSetsRequest>`;
      const answer = await this.#call(
        "POST",
        `/hostedzone/${await this.#zoneOf(name, signal)}/rrset/`,
        signal,
        body,
      );
      if (answer.status < 300) return;
      const conflict =
        element(answer.text, "Code") === "InvalidChangeBatch" || elements(answer.text, "Messages").length > 0;
      if (!conflict || attempt === CONFLICT_ATTEMPTS) throw refusal(what, answer);
    }
  }

  async #read(type: string, name: string, signal: AbortSignal): Promise<RecordSet | undefined> {
    const query = new URLSearchParams({ name: `${name}.`, type, maxitems: "1" }).toString();
    const path = `/hostedzone/${await this.#zoneOf(name, signal)}/rrset?${query}`;
    const answer = await this.#call("GET", path, signal);
    if (answer.status >= 300) throw refusal(`reading ${type} of ${name}`, answer);
    // The list begins at the first set that is not before the one asked for.
    const set = elements(answer.text, "ResourceRecordSet")[0];
    if (set === undefined || element(set, "Type") !== type) return undefined;
    if (element(set, "Name").replace(/\.$/, "").replace("\\052", "*") !== name) return undefined;
    return { ttl: Number(element(set, "TTL")), values: elements(set, "Value").map(unescapeXml) };
  }

  async #zoneOf(name: string, signal: AbortSignal): Promise<string> {
    if (this.options.zoneId !== undefined) return this.options.zoneId;
    this.#zones ??= await this.#listZones(signal);
    const zone = longestZone(name, this.#zones);
    if (zone !== undefined) return zone.id;
    throw new DnsError(
      "zone_not_found",
      `Route 53 shows these credentials no public zone that contains ${name}: allow route53:ListHostedZones`,
    );
  }

  async #listZones(signal: AbortSignal): Promise<{ name: string; id: string }[]> {
    const zones: { name: string; id: string }[] = [];
    for (let marker = ""; ;) {
      const query = marker === "" ? "" : `?marker=${encodeURIComponent(marker)}`;
      const answer = await this.#call("GET", `/hostedzone${query}`, signal);
      if (answer.status >= 300) throw refusal("listing zones", answer);
      for (const zone of elements(answer.text, "HostedZone")) {
        if (element(zone, "PrivateZone") === "true") continue;
        const id = element(zone, "Id").replace("/hostedzone/", "");
        zones.push({ name: element(zone, "Name").replace(/\.$/, ""), id });
      }
      marker = element(answer.text, "NextMarker");
      if (marker === "") return zones;
    }
  }

  async #call(
    method: "GET" | "POST",
    path: string,
    signal: AbortSignal,
    body = "",
  ): Promise<{ status: number; text: string }> {
    const url = new URL(`${(this.options.apiUrl ?? API_URL).replace(/\/$/, "")}/2013-04-01${path}`);
    const request = { method, url, body, region: REGION, service: "route53", now: Date.now() };
    return callDnsApi(this.name, url.href, {
      method,
      signal,
      headers: {
        ...awsHeaders(this.options, request),
        ...(body === "" ? {} : { "content-type": "text/xml" }),
      },
      ...(body === "" ? {} : { body }),
    });
  }
}

function changeXml(action: "CREATE" | "DELETE", { name, type }: DnsRecord, set: RecordSet): string {
  const values = set.values.map(
    (value) => `<ResourceRecord><Value>${escapeXml(value)}</Value></ResourceRecord>`,
  );
  return `<Change><Action>${action}</Action><ResourceRecordSet><Name>${escapeXml(name)}.</Name><Type>${type}</Type><TTL>${set.ttl}</TTL><ResourceRecords>${values.join("")}</ResourceRecords></ResourceRecordSet></Change>`;
}

function refusal(what: string, answer: { status: number; text: string }): DnsError {
  const message = element(answer.text, "Message") || `status ${answer.status}`;
  return new DnsError("refused", `Route 53 refused ${what}: ${message}`);
}
