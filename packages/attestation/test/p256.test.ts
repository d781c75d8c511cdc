import { concatBytes, fromHex } from "@dstack/core";
import { generateKeyPairSync, sign } from "node:crypto";
import { describe, expect, it } from "vitest";
import { p256FromPoint, p256FromSpki, verifyDer, verifyRaw } from "../src/p256.js";
import { put } from "./support/edit-quote.js";

const P = 0xffffffff00000001000000000000000000000000ffffffffffffffffffffffffn;
const B = 0x5ac635d8aa3a93e7b3ebbd55769886bc651d06b0cc53b0f63bce3c3e27d2604bn;

function power(base: bigint, exponent: bigint): bigint {
  let result = 1n;
  for (let square = base % P, rest = exponent; rest > 0n; rest >>= 1n, square = (square * square) % P) {
    if ((rest & 1n) === 1n) result = (result * square) % P;
  }
  return result;
}

/** The point of the curve with the smallest x above this one. */
function pointFrom(x: bigint): [bigint, bigint] {
  for (; ; x += 1n) {
    const square = ((((x * x - 3n) * x + B) % P) + P) % P;
    const y = power(square, (P + 1n) / 4n);
    if ((y * y) % P === square) return [x, y];
  }
}

const encode = (x: bigint, y: bigint): Uint8Array =>
  fromHex(x.toString(16).padStart(64, "0") + y.toString(16).padStart(64, "0"));

describe("E11: P-256 keys", () => {
  const [x, y] = pointFrom(1n);

  it("takes a point of the curve", () => {
    expect(p256FromPoint(encode(x, y))?.asymmetricKeyDetails).toMatchObject({ namedCurve: "prime256v1" });
    expect(p256FromPoint(encode(x, P - y))).toBeDefined();
  });

  it.each<[string, Uint8Array]>([
    ["a point beside the curve", encode(x, y + 1n)],
    ["the point at infinity", encode(0n, 0n)],
    ["an x that is not reduced", encode(x + P, y)],
    ["coordinates that are not in the field", encode(2n ** 256n - 1n, 2n ** 256n - 1n)],
    ["too few bytes", encode(x, y).subarray(0, 63)],
    ["too many bytes", concatBytes(encode(x, y), Uint8Array.of(0))],
    ["no bytes", new Uint8Array()],
  ])("refuses %s", (_what, bytes) => expect(p256FromPoint(bytes)).toBeUndefined());

  it("reads the key that stands in an SPKI, and no other form or curve", () => {
    const spki = (namedCurve: string): Uint8Array =>
      generateKeyPairSync("ec", { namedCurve }).publicKey.export({ format: "der", type: "spki" });
    const good = spki("P-256");
    expect(p256FromSpki(good)?.export({ format: "der", type: "spki" })).toEqual(Buffer.from(good));
    expect(p256FromSpki(spki("secp256k1"))).toBeUndefined();
    expect(p256FromSpki(good.subarray(1))).toBeUndefined();
    expect(p256FromSpki(concatBytes(good, Uint8Array.of(0)))).toBeUndefined();
    expect(p256FromSpki(put(good, 26, [0x03]))).toBeUndefined();
  });

  it("verifies r ‖ s of 64 bytes, and no other signature", () => {
    const { publicKey, privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
    const data = Uint8Array.of(1, 2, 3);
    const signature = new Uint8Array(sign("sha256", data, { key: privateKey, dsaEncoding: "ieee-p1363" }));
    expect(verifyRaw(publicKey, data, signature)).toBe(true);
    for (const bad of [
      new Uint8Array(),
      signature.subarray(1),
      concatBytes(signature, Uint8Array.of(0)),
      concatBytes(signature, signature),
      new Uint8Array(64),
      new Uint8Array(sign("sha256", data, privateKey)),
    ]) {
      expect(verifyRaw(publicKey, data, bad)).toBe(false);
    }
    expect(verifyRaw(publicKey, Uint8Array.of(1, 2), signature)).toBe(false);
    expect(verifyDer(publicKey, data, new Uint8Array(sign("sha256", data, privateKey)))).toBe(true);
    expect(verifyDer(publicKey, data, signature)).toBe(false);
  });
});
