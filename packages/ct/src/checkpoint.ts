import { InputError, concatBytes, sameBytes, sha256, utf8 } from "@dstack/core";
import { MAX_TREE_SIZE } from "./tree-head.js";
import type { TreeHead } from "./tree-head.js";

/** Kind of a note's signature whose body is that of an RFC 6962 tree head. */
const RFC6962_NOTE_SIGNATURE = 0x05;
const KEY_ID_BYTES = 4;
const TIMESTAMP_BYTES = 8;

/** The name under which a tiled log signs: its submission URL without scheme and final slashes. */
export function originOf(submissionUrl: string): string {
  return submissionUrl.replace(/^https?:\/\//, "").replace(/\/+$/, "");
}

/**
 * Reads the checkpoint of a tiled log (c2sp.org/static-ct-api, c2sp.org/signed-note): the tree head that `get-sth` would
 * give. Signatures of witnesses, and such as only keep readers from relying on their number, are passed over.
 * @param log.origin see {@link originOf}
 * @param log.id SHA-256 of its public key
 * @throws {InputError} not of that form, of another log, or without a signature by this one
 */
export function parseCheckpoint(text: string, log: { origin: string; id: Uint8Array }): TreeHead {
  const [body, signatures, ...more] = text.split("\n\n");
  const [origin, sizeText = "", rootText = "", ...extensions] = (body ?? "").split("\n");
  if (signatures === undefined || more.length > 0 || extensions.length > 0) {
    throw new InputError("checkpoint: it is not three lines, an empty one, and signatures");
  }
  if (origin !== log.origin) {
    throw new InputError(
      `checkpoint: it is of the log ${JSON.stringify(origin?.slice(0, 200))}, not of ${log.origin}`,
    );
  }
  const size = /^(0|[1-9]\d{0,15})$/.test(sizeText) ? Number(sizeText) : NaN;
  if (!(size <= MAX_TREE_SIZE)) throw new InputError("checkpoint: its second line is not a size");
  const root = new Uint8Array(Buffer.from(rootText, "base64"));
  if (root.length !== 32) throw new InputError("checkpoint: its third line is not a hash of 32 bytes");
  const { timestamp, signature } = signatureOf(signatures.split("\n"), log);
  return { size, root, timestamp, signature };
}

function signatureOf(
  lines: readonly string[],
  { origin, id }: { origin: string; id: Uint8Array },
): Pick<TreeHead, "timestamp" | "signature"> {
  const key = sha256(utf8(`${origin}\n`), concatBytes(Uint8Array.of(RFC6962_NOTE_SIGNATURE), id));
  const prefix = `— ${origin} `;
  for (const line of lines) {
    if (!line.startsWith(prefix)) continue;
    const bytes = Buffer.from(line.slice(prefix.length), "base64");
    const [keyId, rest] = [bytes.subarray(0, KEY_ID_BYTES), bytes.subarray(KEY_ID_BYTES)];
    if (!sameBytes(keyId, key.subarray(0, KEY_ID_BYTES)) || rest.length < TIMESTAMP_BYTES) continue;
    const timestamp = Number(rest.readBigUInt64BE());
    if (!Number.isSafeInteger(timestamp)) throw new InputError("checkpoint: its timestamp is not a time");
    return { timestamp, signature: new Uint8Array(rest.subarray(TIMESTAMP_BYTES)) };
  }
  throw new InputError(`checkpoint: the key of ${origin} has not signed it`);
}
