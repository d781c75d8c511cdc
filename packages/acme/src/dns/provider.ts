/** Text of at most 255 bytes: one character-string (RFC 1035 §3.3.14). */
export interface TxtRecord {
  type: "TXT";
  name: string;
  text: string;
}

/** RFC 8659 §4.1. */
export interface CaaRecord {
  type: "CAA";
  name: string;
  flags: number;
  tag: string;
  value: string;
}

export type DnsRecord = TxtRecord | CaaRecord;

/**
 * Who can change the DNS records of our domains. Names are lower case without a final dot. Several records of a
 * type stand at one name side by side: adding never replaces another, removing leaves the others.
 * Every method throws {@link DnsError}.
 */
export interface DnsProvider {
  /** For log lines and errors. */
  readonly name: string;
  /** All records of that type at exactly that name, as the provider has them stored. */
  list<T extends DnsRecord["type"]>(
    type: T,
    name: string,
    signal: AbortSignal,
  ): Promise<Extract<DnsRecord, { type: T }>[]>;
  /** Adds a record; one that is there already is left as it is. */
  add(record: DnsRecord, signal: AbortSignal): Promise<void>;
  /** Removes exactly that record; none that equals it is no error. */
  remove(record: DnsRecord, signal: AbortSignal): Promise<void>;
}

/** Whether two records are the same in DNS. CAA tags are compared without case (RFC 8659 §4.1). */
export function sameRecord(a: DnsRecord, b: DnsRecord): boolean {
  if (a.name !== b.name) return false;
  if (a.type === "TXT") return b.type === "TXT" && a.text === b.text;
  return (
    b.type === "CAA" &&
    a.flags === b.flags &&
    a.tag.toLowerCase() === b.tag.toLowerCase() &&
    a.value === b.value
  );
}

/** As a zone file writes it: `app.example.com CAA 0 issue "letsencrypt.org"`. */
export function recordText(record: DnsRecord): string {
  return record.type === "TXT"
    ? `${record.name} TXT ${JSON.stringify(record.text)}`
    : `${record.name} CAA ${record.flags} ${record.tag} ${JSON.stringify(record.value)}`;
}
