import { X509Certificate } from "node:crypto";

/** When the CA would like to see a certificate renewed (RFC 9773 §4.2). */
export interface RenewalWindow {
  start: Date;
  end: Date;
  askAgainAt?: Date | undefined;
}

interface Element {
  tag: number;
  content: Buffer;
}

/** The DER elements inside another one's content. */
function children(der: Buffer): Element[] {
  const elements: Element[] = [];
  for (let at = 0; at < der.length;) {
    const tag = der.readUInt8(at);
    let length = der.readUInt8(at + 1);
    at += 2;
    if (length > 127) {
      const bytes = length & 127;
      length = der.readUIntBE(at, bytes);
      at += bytes;
    }
    elements.push({ tag, content: der.subarray(at, at + length) });
    at += length;
  }
  return elements;
}

/** 2.5.29.35 */
const AUTHORITY_KEY_ID = Buffer.from("551d23", "hex");

/**
 * The unique identifier of a certificate (RFC 9773 §4.1): key id of its issuer and its serial number's DER content.
 * @returns undefined for a certificate that does not name its issuer's key
 */
export function ariCertId(certPem: string): string | undefined {
  const [tbs] = children(children(new X509Certificate(certPem).raw)[0]?.content ?? Buffer.alloc(0));
  const fields = children(tbs?.content ?? Buffer.alloc(0));
  const serial = fields.find(({ tag }) => tag === 0x02)?.content;
  const extensions = children(fields.find(({ tag }) => tag === 0xa3)?.content ?? Buffer.alloc(0))[0];
  const extension = children(extensions?.content ?? Buffer.alloc(0))
    .map(({ content }) => children(content))
    .find(([oid]) => oid?.content.equals(AUTHORITY_KEY_ID));
  const value = children(extension?.at(-1)?.content ?? Buffer.alloc(0))[0];
  const keyId = children(value?.content ?? Buffer.alloc(0)).find(({ tag }) => tag === 0x80)?.content;
  if (serial === undefined || keyId === undefined) return undefined;
  return `${keyId.toString("base64url")}.${serial.toString("base64url")}`;
}
