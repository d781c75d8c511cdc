/** Longest DNS name in text form (RFC 1035 §2.3.4). */
export const MAX_NAME_LENGTH = 253;

/** A host name from outside, safe for logs, maps and DNS: lower case, no trailing dot. */
export type ServerName = string & { readonly __brand: "ServerName" };

const LABEL = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/;

/**
 * Reads a name a client sent: ASCII letters, digits and hyphens in labels of 1 to 63, at least two labels, at most
 * 253 bytes, one trailing dot allowed. IP addresses are no names (RFC 6066 §3).
 * @returns undefined for anything else
 */
export function parseServerName(text: string): ServerName | undefined {
  if (text.length > MAX_NAME_LENGTH + 1) return undefined;
  const name = text.toLowerCase().replace(/\.$/, "");
  const labels = name.split(".");
  if (name.length > MAX_NAME_LENGTH || labels.length < 2 || !labels.every((label) => LABEL.test(label))) {
    return undefined;
  }
  // No top-level domain is a number; an IPv4 address ends in one.
  return /^\d+$/.test(labels.at(-1) ?? "") ? undefined : (name as ServerName);
}
