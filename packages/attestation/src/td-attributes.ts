/**
 * Bits of TDATTRIBUTES that have a name (Intel TDX Module ABI, "TD_ATTRIBUTES"). The lowest byte puts the TD under
 * debug: with any of it the host sees into the TD.
 */
const ATTRIBUTES = {
  DEBUG: 0,
  HGS_PLUS_PROF: 4,
  PERF_PROF: 5,
  PMT_PROF: 6,
  LASS: 27,
  SEPT_VE_DISABLE: 28,
  MIGRATABLE: 29,
  PKS: 30,
  KL: 31,
  PERFMON: 63,
} as const;
type Attribute = keyof typeof ATTRIBUTES;

/** Attributes a policy may allow or require: none that lets the host look inside, none that nobody knows. */
export const ALLOWABLE_ATTRIBUTES = [
  "LASS",
  "SEPT_VE_DISABLE",
  "MIGRATABLE",
  "PKS",
  "KL",
  "PERFMON",
] as const satisfies readonly Attribute[];

/** @param bytes 8 bytes, little-endian */
export function readBits(bytes: Uint8Array): bigint {
  return bytes.reduceRight((value, byte) => (value << 8n) | BigInt(byte), 0n);
}

/** The mask of these attributes. */
export function attributeMask(names: readonly Attribute[]): bigint {
  return names.reduce((mask, name) => mask | (1n << BigInt(ATTRIBUTES[name])), 0n);
}

/** Each bit that is set, by its name, or as `bit 5` where it has none: "SEPT_VE_DISABLE, bit 62"; "none" for 0. */
export function describeAttributes(bits: bigint): string {
  const names = new Map<number, string>(Object.entries(ATTRIBUTES).map(([name, bit]) => [bit, name]));
  const set = Array.from({ length: 64 }, (_, bit) => bit).filter(
    (bit) => ((bits >> BigInt(bit)) & 1n) === 1n,
  );
  return set.map((bit) => names.get(bit) ?? `bit ${bit}`).join(", ") || "none";
}
