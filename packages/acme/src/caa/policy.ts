import { type CaaRecord, sameRecord } from "../dns/provider.js";

// RFC 8659 (CAA) and RFC 8657 (its parameters accounturi and validationmethods), as pure functions.

/** One account of one CA may issue for us. */
export interface CaaPermission {
  /** The CA's name in CAA records, such as `letsencrypt.org`. */
  issuer: string;
  accountUri: string;
}

const TAGS = ["issue", "issuewild"] as const;
const VALIDATION_METHOD = "dns-01";
/** A value that names no CA: nobody may issue. */
const NOBODY = ";";

/** The records that let exactly these accounts issue for a name and its wildcard. */
export function wantedCaa(name: string, permissions: readonly CaaPermission[]): CaaRecord[] {
  return permissions.flatMap(({ issuer, accountUri }) =>
    TAGS.map((tag) => {
      const value = `${issuer};validationmethods=${VALIDATION_METHOD};accounturi=${accountUri}`;
      return { type: "CAA", name, flags: 0, tag, value };
    }),
  );
}

/** What a value of an `issue` or `issuewild` record says. Parameters keep their order and spelling of values. */
export function parseCaaValue(value: string): { issuer: string; parameters: Map<string, string> } {
  const [issuer = "", ...rest] = value.split(";").map((part) => part.trim());
  const parameters = rest
    .filter((part) => part !== "")
    .map((part): [string, string] => {
      const at = part.indexOf("=");
      return at < 0
        ? [part.toLowerCase(), ""]
        : [part.slice(0, at).trim().toLowerCase(), part.slice(at + 1).trim()];
    });
  return { issuer: issuer.toLowerCase().replace(/\.$/, ""), parameters: new Map(parameters) };
}

export interface CaaStep {
  do: "add" | "remove";
  record: CaaRecord;
  why: "guard" | "wanted" | "stale";
}

export interface CaaPlan {
  /** In the order they must be done. After each of them somebody stops other CAs; none when all is as wanted. */
  steps: CaaStep[];
  /** Records at the name that are not ours: they stay. Of `issue` and `issuewild` they let another CA issue. */
  foreign: CaaRecord[];
}

/**
 * How to get from the records at one name to the wanted ones (rule C1): guard records (`issue ";"`), then the wanted
 * ones, then stale ones of our CAs go, then the guards. Whatever step is the last one done, at no time does the name
 * stand without `issue` and `issuewild`, and planning again from there ends in the same state.
 * @param issuers CAA names of our CAs: `issue` and `issuewild` records that name one of them are ours, nothing else is
 */
export function planCaa(
  existing: readonly CaaRecord[],
  wanted: readonly CaaRecord[],
  issuers: ReadonlySet<string>,
): CaaPlan {
  const has = (records: readonly CaaRecord[], record: CaaRecord): boolean =>
    records.some((other) => sameRecord(other, record));
  const isIssue = ({ tag }: CaaRecord): boolean => TAGS.some((known) => known === tag.toLowerCase());
  const isGuard = (record: CaaRecord): boolean =>
    isIssue(record) && record.flags === 0 && record.value === NOBODY;
  const isOurs = (record: CaaRecord): boolean =>
    isIssue(record) && issuers.has(parseCaaValue(record.value).issuer);

  const foreign = existing.filter((record) => !isGuard(record) && !isOurs(record));
  const missing = wanted.filter((record) => !has(existing, record));
  const stale = existing.filter((record) => isOurs(record) && !has(wanted, record));
  const name = wanted[0]?.name;
  if (name === undefined) return { steps: [], foreign };

  const changes = missing.length > 0 || stale.length > 0;
  const newGuards = TAGS.map((tag): CaaRecord => ({
    type: "CAA",
    name,
    flags: 0,
    tag,
    value: NOBODY,
  })).filter((guard) => changes && !has(existing, guard));
  const step = (record: CaaRecord, what: Omit<CaaStep, "record">): CaaStep => ({ ...what, record });
  return {
    steps: [
      ...newGuards.map((record) => step(record, { do: "add", why: "guard" })),
      ...missing.map((record) => step(record, { do: "add", why: "wanted" })),
      ...stale.map((record) => step(record, { do: "remove", why: "stale" })),
      ...[...existing.filter(isGuard), ...newGuards].map((record) =>
        step(record, { do: "remove", why: "guard" }),
      ),
    ],
    foreign,
  };
}

/**
 * Why somebody else than this account could get a certificate under a relevant record set (RFC 8659 §3).
 * @param issuers the CA's names in CAA records
 * @returns undefined when nobody could
 */
export function whyOthersMayIssue(
  set: readonly Pick<CaaRecord, "tag" | "value">[],
  issuers: readonly string[],
  accountUri: string,
): string | undefined {
  const deciding = set.filter(({ tag }) => TAGS.some((known) => known === tag.toLowerCase()));
  // Without `issue` everybody may, whatever `issuewild` says.
  if (!deciding.some(({ tag }) => tag.toLowerCase() === "issue")) return "no CAA record limits who may issue";
  for (const { tag, value } of deciding) {
    if (value.trim() === NOBODY) continue;
    const { issuer, parameters } = parseCaaValue(value);
    const said = `${tag} ${JSON.stringify(value)}`;
    if (!issuers.includes(issuer)) return `another CA may issue: ${said}`;
    // RFC 8657 §3: two of them hold nobody to either.
    const accounts = value.toLowerCase().split("accounturi").length - 1;
    if (accounts !== 1 || parameters.get("accounturi") !== accountUri) {
      return `another account may order: ${said}`;
    }
  }
  return undefined;
}

/**
 * Whether a CA must issue, by the relevant record set of a name (RFC 8659 §3): that of the closest name upwards that
 * has any CAA record. An empty set permits.
 * @returns undefined when it may, else the reason
 */
export function whyCaaForbids(
  set: readonly CaaRecord[],
  permission: CaaPermission,
  wildcard: boolean,
): string | undefined {
  const known = new Set([
    "issue",
    "issuewild",
    "iodef",
    "contactemail",
    "contactphone",
    "issuemail",
    "issuevmc",
  ]);
  const strange = set.find(({ flags, tag }) => (flags & 128) !== 0 && !known.has(tag.toLowerCase()));
  if (strange !== undefined) return `critical record of unknown kind "${strange.tag}" at ${strange.name}`;
  const tagged = (tag: string): CaaRecord[] => set.filter((record) => record.tag.toLowerCase() === tag);
  const wild = tagged("issuewild");
  const deciding = wildcard && wild.length > 0 ? wild : tagged("issue");
  if (deciding.length === 0) return undefined;
  const reasons = deciding.map(({ value }) => whyValueForbids(value, permission));
  if (reasons.includes(undefined)) return undefined;
  return `${deciding[0]?.name}: ${[...new Set(reasons)].join("; ")}`;
}

function whyValueForbids(value: string, permission: CaaPermission): string | undefined {
  const { issuer, parameters } = parseCaaValue(value);
  if (issuer !== permission.issuer) return issuer === "" ? "nobody may issue" : `only ${issuer} may issue`;
  const account = parameters.get("accounturi");
  if (account !== undefined && account !== permission.accountUri) return `only account ${account} may order`;
  const methods = parameters.get("validationmethods");
  if (
    methods === undefined ||
    methods
      .split(",")
      .map((m) => m.trim())
      .includes(VALIDATION_METHOD)
  )
    return undefined;
  return `only validation by ${methods} is allowed`;
}
