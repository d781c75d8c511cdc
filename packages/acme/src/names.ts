import { InputError } from "@dstack/core";

/** RFC 1035 §2.3.4, without the final dot. */
const MAX_NAME_LENGTH = 253;

/**
 * A domain name as a certificate carries it: lower case, no final dot, `*` only as its whole first label.
 * @throws {InputError} not a name a public certificate can carry
 */
export function parseDomain(text: string): string {
  const name = text.toLowerCase().replace(/\.$/, "");
  const labels = (name.startsWith("*.") ? name.slice(2) : name).split(".");
  const valid =
    name.length <= MAX_NAME_LENGTH &&
    labels.length >= 2 &&
    labels.every((label) => /^[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/.test(label));
  if (!valid)
    throw new InputError(`${JSON.stringify(text)} is not a domain name such as "*.app.example.com"`);
  return name;
}

/** The name DNS records of a domain stand at: `*.app.example.com` and `app.example.com` share theirs. */
export function recordName(domain: string): string {
  return domain.startsWith("*.") ? domain.slice(2) : domain;
}

/** The name and its ancestors, longest first, without top-level domains. */
export function suffixes(name: string): string[] {
  const labels = name.split(".");
  return labels.slice(0, -1).map((_, i) => labels.slice(i).join("."));
}

/** The zone a name belongs to: of all that contain it the longest. */
export function longestZone<T extends { name: string }>(name: string, zones: readonly T[]): T | undefined {
  return suffixes(name)
    .map((suffix) => zones.find((zone) => zone.name === suffix))
    .find((zone) => zone !== undefined);
}
