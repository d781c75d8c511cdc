import { readFileSync } from "node:fs";
import { fromHex, hex, parseAppId, utf8 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import {
  deriveGuestKeyV0,
  deriveGuestKeyV1,
  deriveK256AppKey,
  deriveK256Root,
  k256Issuer,
  k256PublicKey,
  recoverSigner,
} from "../src/guest-keys.js";
import { p256FromScalar } from "../src/p256.js";

const bytes = z.string().transform((text) => fromHex(text));
const algorithm = z.enum(["secp256k1", "ed25519"]);
const guestKey = {
  app_key: bytes,
  path: z.string(),
  purpose: z.string(),
  algorithm,
  key: z.string(),
  public_key: z.string(),
};
const vectors = z
  .object({
    k256_root: z.array(z.object({ root: bytes, key: z.string(), public_key: z.string() })).min(3),
    k256_app_key: z
      .array(
        z.object({
          k256_root: bytes,
          app_id: z.string().transform(parseAppId),
          key: z.string(),
          public_key: z.string(),
          signature: z.string(),
        }),
      )
      .min(3),
    v0: z.array(z.object({ ...guestKey, link: z.string() })).min(3),
    v1: z.array(z.object({ ...guestKey, epoch: z.int() })).min(3),
  })
  .parse(JSON.parse(readFileSync(new URL("../vectors/guest-keys.json", import.meta.url), "utf8")));

const signature = new Uint8Array(65);

describe("K3: DstackGuest.GetKey. FROZEN: a changed byte moves every wallet", () => {
  it.each(vectors.k256_root)("secp256k1 root $public_key", (v) => {
    const key = deriveK256Root(p256FromScalar(v.root).privateKey);
    expect(hex(key)).toBe(v.key);
    expect(hex(k256PublicKey(key))).toBe(v.public_key);
  });

  it.each(vectors.k256_app_key)("secp256k1 app key of $app_id", (v) => {
    const app = deriveK256AppKey(v.k256_root, v.app_id);
    expect(hex(app.key)).toBe(v.key);
    expect(hex(app.signature)).toBe(v.signature);
    expect(k256Issuer(v.app_id, k256PublicKey(app.key), app.signature)).toEqual(k256PublicKey(v.k256_root));
  });

  it.each(vectors.v0)("v0 $algorithm key of '$path'", (v) => {
    const got = deriveGuestKeyV0({ key: v.app_key, signature }, v);
    expect(hex(got.key)).toBe(v.key);
    expect(hex(got.publicKey)).toBe(v.public_key);
    expect(got.signatureChain.map(hex)).toEqual([v.link, hex(signature)]);
    const message = utf8(`${v.purpose}:${v.public_key}`);
    expect(recoverSigner(message, got.signatureChain[0])).toEqual(k256PublicKey(v.app_key));
  });

  it.each(vectors.v1)("v1 $algorithm key of '$path', epoch $epoch", (v) => {
    const got = deriveGuestKeyV1({ key: v.app_key, signature }, v);
    expect(hex(got.key)).toBe(v.key);
    expect(hex(got.publicKey)).toBe(v.public_key);
  });
});

describe("deriveGuestKeyV1", () => {
  it("K3: gives another key when any of path, purpose, algorithm, epoch changes, and when bytes move between them", () => {
    const app = { key: new Uint8Array(32).fill(7), signature };
    const base = { path: "ab", purpose: "cd", algorithm: "secp256k1", epoch: 0 } as const;
    const requests = [
      base,
      { ...base, path: "a", purpose: "bcd" },
      { ...base, path: "abc", purpose: "d" },
      { ...base, purpose: "ce" },
      { ...base, algorithm: "ed25519" as const },
      { ...base, epoch: 1 },
    ];
    const keys = new Set(requests.map((request) => hex(deriveGuestKeyV1(app, request).key)));
    expect(keys.size).toBe(requests.length);
  });
});
