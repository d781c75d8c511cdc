import { concatBytes } from "@dstack/core";

/** Absolute offsets in a v4 quote with 32 bytes of QE authentication data. */
export const AT = {
  version: 0,
  keyType: 2,
  teeType: 4,
  vendorId: 12,
  mrTd: 184,
  rtmr3: 520,
  reportData: 568,
  tdAttributes: 168,
  teeTcbSvn: 48,
  authLength: 632,
  signature: 636,
  attestationKey: 700,
  outerType: 764,
  outerLength: 766,
  qeReport: 770,
  qeMrSigner: 770 + 128,
  qeReportSignature: 1154,
  qeAuthLength: 1218,
  qeAuth: 1220,
  innerType: 1252,
  innerLength: 1254,
  chain: 1258,
} as const;

export const P256_ORDER = 0xffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551n;

/** A copy with bytes replaced from an offset on. */
export function put(quote: Uint8Array, at: number, bytes: ArrayLike<number>): Uint8Array {
  const copy = quote.slice();
  copy.set(bytes, at);
  return copy;
}

/** A copy with one bit changed. */
export function flip(quote: Uint8Array, at: number): Uint8Array {
  return put(quote, at, [(quote[at] ?? 0) ^ 1]);
}

export function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

/** A copy with another PCK chain, and the three lengths around it corrected. */
export function replaceChain(quote: Uint8Array, pemText: string): Uint8Array {
  const chain = concatBytes(Buffer.from(`${pemText}\0`));
  const old = new DataView(quote.buffer, quote.byteOffset).getUint32(AT.innerLength, true);
  return [AT.authLength, AT.outerLength, AT.innerLength].reduce(
    (result, at) => {
      const length = new DataView(result.buffer, result.byteOffset).getUint32(at, true);
      return put(result, at, u32(length + chain.length - old));
    },
    concatBytes(quote.subarray(0, AT.chain), chain, quote.subarray(AT.chain + old)),
  );
}

/** A copy with bytes put in and the three lengths around them corrected. */
export function growQeAuth(quote: Uint8Array, extra: Uint8Array): Uint8Array {
  const view = new DataView(quote.buffer, quote.byteOffset);
  const grow = (at: number): Uint8Array => u32(view.getUint32(at, true) + extra.length);
  const length = 32 + extra.length;
  const edited = put(
    put(put(quote, AT.authLength, grow(AT.authLength)), AT.outerLength, grow(AT.outerLength)),
    AT.qeAuthLength,
    [length & 0xff, length >> 8],
  );
  return concatBytes(edited.subarray(0, AT.innerType), extra, edited.subarray(AT.innerType));
}

/** A copy with 8 zero bytes at its end that the lengths at these offsets count in. */
export function growEnd(quote: Uint8Array, lengths: readonly number[]): Uint8Array {
  return lengths.reduce(
    (result, at) =>
      put(result, at, u32(new DataView(result.buffer, result.byteOffset).getUint32(at, true) + 8)),
    concatBytes(quote, new Uint8Array(8)),
  );
}

/** The other signature everybody can make of a signature: s becomes n − s. */
export function otherS(quote: Uint8Array): Uint8Array {
  const s = BigInt(`0x${Buffer.from(quote.subarray(AT.signature + 32, AT.signature + 64)).toString("hex")}`);
  return put(quote, AT.signature + 32, Buffer.from((P256_ORDER - s).toString(16).padStart(64, "0"), "hex"));
}
