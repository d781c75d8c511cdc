import { InputError } from "@dstack/core";

/**
 * The longest leaf there can be: 2^24 − 1 bytes of certificate and 2^16 − 1 of extensions, with what stands before them
 * (RFC 6962 §3.4). A tighter bound would let one big entry hide all that follow it.
 */
export const MAX_ENTRY_BYTES = 2 ** 24 + 2 ** 16 + 64;

/** What one leaf of a log says (RFC 6962 §3.4). */
export interface LogEntry {
  /** Unix milliseconds: when the log took it. */
  readonly timestamp: number;
  /** `precert`: a CA promised to issue this; it counts as issued. */
  readonly kind: "x509" | "precert";
  /** DER: the certificate, or of a precertificate the TBSCertificate that will be signed. */
  readonly der: Uint8Array;
}

const X509_ENTRY = 0;
const PRECERT_ENTRY = 1;
const ISSUER_KEY_HASH_BYTES = 32;

/**
 * Reads `leaf_input` of `get-entries`: what the tree's hash is over. `extra_data` is not hashed, and not believed.
 * @throws {InputError} malformed, of a version that is not known, too long, or with bytes after its end
 */
export function parseEntry(leafInput: Uint8Array): LogEntry {
  if (leafInput.length > MAX_ENTRY_BYTES)
    throw new InputError(`log entry is larger than ${MAX_ENTRY_BYTES} bytes`);
  const bytes = Buffer.from(leafInput.buffer, leafInput.byteOffset, leafInput.byteLength);
  let at = 0;
  const take = (count: number): Buffer => {
    if (count > bytes.length - at) throw new InputError("log entry is truncated");
    at += count;
    return bytes.subarray(at - count, at);
  };
  const [version, leafType] = take(2);
  if (version !== 0 || leafType !== 0) throw new InputError("log entry is of an unknown version");
  const timestamp = Number(take(8).readBigUInt64BE());
  const type = take(2).readUInt16BE();
  if (type !== X509_ENTRY && type !== PRECERT_ENTRY)
    throw new InputError(`log entry is of unknown type ${type}`);
  if (type === PRECERT_ENTRY) take(ISSUER_KEY_HASH_BYTES);
  const der = take(take(3).readUIntBE(0, 3));
  take(take(2).readUInt16BE());
  if (at !== bytes.length) throw new InputError("log entry has bytes after its end");
  return { timestamp, kind: type === X509_ENTRY ? "x509" : "precert", der: new Uint8Array(der) };
}
