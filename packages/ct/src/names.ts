/**
 * Whether a certificate with this name can be used for the domain, for a name below it, or, as a wildcard of the level
 * above, for the domain itself.
 * @param name as it stands in the certificate
 * @param domain lower-case, without a dot at its end
 */
export function isNameOf(name: string, domain: string): boolean {
  const plain = name.toLowerCase().replace(/\.+$/, "");
  return plain === domain || plain.endsWith(`.${domain}`) || plain === wildcardAbove(domain);
}

/** `*.example.com` for `app.example.com`; nothing for `example.com`, since nobody may issue for `*.com`. */
export function wildcardAbove(domain: string): string | undefined {
  const parent = domain.slice(domain.indexOf(".") + 1);
  return parent.includes(".") ? `*.${parent}` : undefined;
}

/**
 * Whether a domain, or a wildcard above it, stands anywhere in these bytes. Names are plain text in a certificate: what
 * does not mention a domain cannot be for it, and what does and cannot be read may be.
 */
export function mentions(der: Uint8Array, domain: string): boolean {
  const text = Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString("latin1").toLowerCase();
  // A common name in UTF-16 or UTF-32 has zeros between its letters.
  const wide = text.replaceAll("\0", "");
  const above = wildcardAbove(domain);
  return [text, wide].some((all) => all.includes(domain) || (above !== undefined && all.includes(above)));
}
