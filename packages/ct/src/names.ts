import { DER, DerReader, InputError } from "@dstack/core";

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

/** OBJECT IDENTIFIER of the alternative names, 2.5.29.17. */
const ALT_NAMES = Uint8Array.of(DER.oid, 3, 0x55, 0x1d, 0x11);
/** Tag of a DNS name that is put together from several strings, as BER has it and DER does not. */
export const DNS_NAME_IN_PIECES = 0xa2;

/** Whether a certificate, anywhere in these bytes, has such a name: OpenSSL joins the pieces, and no search finds it. */
function hasNameInPieces(bytes: Buffer): boolean {
  for (let at = bytes.indexOf(ALT_NAMES); at >= 0; at = bytes.indexOf(ALT_NAMES, at + 1)) {
    try {
      const extension = new DerReader(bytes.subarray(at + ALT_NAMES.length), "extension");
      if (extension.peek() === DER.boolean) extension.next();
      const value = new DerReader(extension.next(DER.octetString).content, "alternative names");
      const names = new DerReader(value.next(DER.sequence).content, "alternative names");
      while (!names.atEnd) if (names.next().tag === DNS_NAME_IN_PIECES) return true;
    } catch (err) {
      if (!(err instanceof InputError)) throw err;
      // These bytes are no extension.
    }
  }
  return false;
}

/**
 * Whether a domain, or a wildcard above it, stands anywhere in these bytes, or may, in pieces. Names are plain text in a
 * certificate: what does not mention a domain cannot be for it, and what does and cannot be read may be.
 */
export function mentions(der: Uint8Array, domain: string): boolean {
  const bytes = Buffer.from(der.buffer, der.byteOffset, der.byteLength);
  if (hasNameInPieces(bytes)) return true;
  const text = bytes.toString("latin1").toLowerCase();
  // A common name in UTF-16 or UTF-32 has zeros between its letters.
  const wide = text.replaceAll("\0", "");
  const above = wildcardAbove(domain);
  return [text, wide].some((all) => all.includes(domain) || (above !== undefined && all.includes(above)));
}
