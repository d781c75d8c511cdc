import { CodedError, sameBytes, sha256 } from "@dstack/core";
import { z } from "zod";

/**
 * Checks a LUKS2 header before cryptsetup sees it (G2). The disk belongs to the host: a header with a null cipher, or
 * one whose key slot is not encrypted, would make the guest write its data where the host can read it. So only what our
 * own format step writes is accepted. Format: LUKS2 On-Disk Format Specification 1.1.1, sections 2 and 3.
 */

/** Bytes of one header area, binary part and JSON: what cryptsetup makes unless told otherwise. */
export const HEADER_AREA_BYTES = 16 * 1024;
const BINARY_BYTES = 4096;
/** Both areas and the key slots. Ours ends at 1 MiB; cryptsetup's own default is 16 MiB. */
export const MAX_HEADER_BYTES = 16 * 2 ** 20;
/** A hostile count would only make us slow; ours is 1,000 because the key has 256 random bits. */
const MAX_ITERATIONS = 10_000_000;

export type LuksErrorCode = "luks_header_invalid";

/** The header is not one that this guest makes. */
export class LuksHeaderError extends CodedError<LuksErrorCode> {
  override name = "LuksHeaderError";
  constructor(message: string, options?: ErrorOptions) {
    super("luks_header_invalid", `data disk header: ${message}`, {}, options);
  }
}

/** A number that JSON carries as a decimal string, because it has 64 bits. */
const u64 = z
  .string()
  .regex(/^(0|[1-9][0-9]{0,15})$/)
  .transform(Number);
const base64 = z
  .string()
  .max(1024)
  .regex(/^[A-Za-z0-9+/]+={0,2}$/);
const hash = z.literal("sha256");
const iterations = z.int().min(1000).max(MAX_ITERATIONS);
const cipher = z.literal("aes-xts-plain64");

const KeySlot = z.strictObject({
  type: z.literal("luks2"),
  key_size: z.literal(64),
  priority: z.int().min(0).max(2).optional(),
  af: z.strictObject({ type: z.literal("luks1"), stripes: z.literal(4000), hash }),
  area: z.strictObject({
    type: z.literal("raw"),
    offset: u64,
    size: u64,
    encryption: cipher,
    key_size: z.literal(64),
  }),
  kdf: z.strictObject({ type: z.literal("pbkdf2"), hash, iterations, salt: base64 }),
});
const Segment = z.strictObject({
  type: z.literal("crypt"),
  offset: u64,
  size: z.literal("dynamic"),
  iv_tweak: z.literal("0"),
  encryption: cipher,
  sector_size: z.union([z.literal(512), z.literal(4096)]),
});
const Digest = z.strictObject({
  type: z.literal("pbkdf2"),
  keyslots: z.tuple([z.literal("0")]),
  segments: z.tuple([z.literal("0")]),
  hash,
  iterations,
  salt: base64,
  digest: base64,
});
const Metadata = z.strictObject({
  keyslots: z.strictObject({ "0": KeySlot }),
  tokens: z.strictObject({}),
  segments: z.strictObject({ "0": Segment }),
  digests: z.strictObject({ "0": Digest }),
  config: z.strictObject({ json_size: u64, keyslots_size: u64 }),
});

/** What is known of a header that passed. */
export interface Luks2Header {
  /** Where the encrypted data begins, bytes from the start of the disk: the header ends there. */
  readonly dataOffset: number;
}

/**
 * @param disk the disk's first bytes, up to {@link MAX_HEADER_BYTES}
 * @throws {LuksHeaderError} anything but one AES-XTS segment with one PBKDF2 key slot, stated twice alike
 */
export function checkLuks2Header(disk: Uint8Array): Luks2Header {
  if (disk.length < 2 * HEADER_AREA_BYTES) throw new LuksHeaderError("the disk is too small for one");
  const primary = readArea(disk, 0, "LUKS\xba\xbe", "first");
  const secondary = readArea(disk, HEADER_AREA_BYTES, "SKUL\xba\xbe", "second");
  // cryptsetup falls back to the other area, or takes the newer one: with both alike there is nothing to choose.
  if (primary.sequence !== secondary.sequence || !sameBytes(primary.json, secondary.json)) {
    throw new LuksHeaderError("its two areas differ");
  }
  const { keyslots, segments, config } = parseMetadata(primary.json);
  const { area } = keyslots["0"];
  const { offset: dataOffset } = segments["0"];
  const slotsBegin = 2 * HEADER_AREA_BYTES;
  if (config.json_size !== HEADER_AREA_BYTES - BINARY_BYTES)
    throw new LuksHeaderError("its JSON size is not ours");
  if (slotsBegin + config.keyslots_size > dataOffset) throw new LuksHeaderError("key slots overlap the data");
  if (area.offset < slotsBegin || area.offset + area.size > slotsBegin + config.keyslots_size) {
    throw new LuksHeaderError("the key slot lies outside the key slots area");
  }
  // 4000 stripes of a 64-byte key, and what aligns them.
  if (area.size < 4000 * 64 || area.size > 2 ** 20)
    throw new LuksHeaderError("the key slot has a strange size");
  if (dataOffset > MAX_HEADER_BYTES || dataOffset % 4096 !== 0) {
    throw new LuksHeaderError("the data begins at a strange place");
  }
  if (dataOffset > disk.length) throw new LuksHeaderError("the data begins beyond the end of the disk");
  return { dataOffset };
}

interface Area {
  readonly sequence: bigint;
  readonly json: Uint8Array;
}

function readArea(disk: Uint8Array, offset: number, magic: string, which: string): Area {
  const area = disk.subarray(offset, offset + HEADER_AREA_BYTES);
  const view = new DataView(area.buffer, area.byteOffset, area.byteLength);
  const wrong = (what: string): LuksHeaderError => new LuksHeaderError(`the ${which} area ${what}`);
  if (!sameBytes(area.subarray(0, 6), Buffer.from(magic, "latin1"))) throw wrong("has no LUKS2 magic");
  if (view.getUint16(6) !== 2) throw wrong("is not of version 2");
  if (view.getBigUint64(8) !== BigInt(HEADER_AREA_BYTES)) throw wrong("has another size");
  if (view.getBigUint64(256) !== BigInt(offset)) throw wrong("says it stands elsewhere");
  if (cString(area.subarray(72, 104)) !== "sha256") throw wrong("has another checksum algorithm");
  const unsummed = new Uint8Array(area);
  unsummed.fill(0, 448, 512);
  if (!sameBytes(sha256(unsummed), area.subarray(448, 480))) throw wrong("has a wrong checksum");
  return { sequence: view.getBigUint64(16), json: area.subarray(BINARY_BYTES) };
}

function cString(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(end === -1 ? bytes : bytes.subarray(0, end)).toString("latin1");
}

function parseMetadata(area: Uint8Array): z.infer<typeof Metadata> {
  const end = area.indexOf(0);
  // Text after the first NUL is not read by cryptsetup today; a header of ours has none.
  if (end === -1 || area.subarray(end).some((byte) => byte !== 0)) {
    throw new LuksHeaderError("its JSON is not followed by zeros");
  }
  let value: unknown;
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(area.subarray(0, end));
    value = JSON.parse(text);
  } catch (err) {
    throw new LuksHeaderError("its metadata is not JSON", { cause: err });
  }
  requireUniqueKeys(text);
  const parsed = Metadata.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new LuksHeaderError(
      `${issue?.path.join(".") ?? ""}: ${issue?.message ?? "not as this guest makes it"}`,
    );
  }
  return parsed.data;
}

/**
 * JSON leaves open which of two equal keys counts, so cryptsetup's parser could read another value than ours did.
 * @throws {LuksHeaderError}
 */
function requireUniqueKeys(text: string): void {
  const open: (Set<string> | undefined)[] = [];
  // Strings, and the brackets between them. The text is known to be JSON.
  for (const [token, key] of tokens(text)) {
    if (token === "{") open.push(new Set());
    else if (token === "[") open.push(undefined);
    else if (token === "}" || token === "]") open.pop();
    else if (key !== undefined) {
      const keys = open.at(-1);
      if (keys?.has(key) === true) throw new LuksHeaderError(`its metadata says ${key} twice`);
      keys?.add(key);
    }
  }
}

function* tokens(text: string): Generator<[string, string | undefined]> {
  for (const match of text.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|[{}[\]]/g)) {
    const [token, quoted, colon] = match;
    yield [token, quoted !== undefined && colon !== undefined ? String(JSON.parse(quoted)) : undefined];
  }
}
