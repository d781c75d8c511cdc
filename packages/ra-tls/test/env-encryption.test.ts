import { readFileSync } from "node:fs";
import { createCipheriv } from "node:crypto";
import { InputError, concatBytes, fromHex, utf8 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { x25519PublicKey } from "../src/derive.js";
import { MAX_ENCRYPTED_ENV_BYTES, decryptEnv, encryptEnv, sealEnvText } from "../src/env-encryption.js";

const bytes = z.string().transform((text) => fromHex(text));
const { vectors } = z
  .object({
    vectors: z
      .array(
        z.object({
          secret: bytes,
          blob: bytes,
          env: z.array(z.object({ key: z.string(), value: z.string() })),
        }),
      )
      .min(4),
  })
  .parse(JSON.parse(readFileSync(new URL("../vectors/env.json", import.meta.url), "utf8")));

const secret = new Uint8Array(32).fill(9);
const publicKey = x25519PublicKey(secret);
const env = [{ key: "A", value: "1" }];

describe("encrypted environment", () => {
  it.each(vectors)("opens what the published SDK encrypted ($env.length variables)", (v) => {
    expect(decryptEnv(v.secret, v.blob)).toEqual(v.env);
  });

  it("opens what it encrypted, and never encrypts twice alike", () => {
    const one = encryptEnv(publicKey, env);
    expect(decryptEnv(secret, one)).toEqual(env);
    expect(encryptEnv(publicKey, env)).not.toEqual(one);
  });

  it("K7: refuses a bundle for another app and a bundle with any bit changed", () => {
    const blob = encryptEnv(publicKey, env);
    expect(() => decryptEnv(new Uint8Array(32).fill(8), blob)).toThrow(InputError);
    for (let i = 0; i < blob.length; i++) {
      const changed = Uint8Array.from(blob);
      changed[i] = (changed[i] ?? 0) ^ 1;
      expect(() => decryptEnv(secret, changed), `byte ${i}`).toThrow(InputError);
    }
  });

  it("refuses a public key of small order, for which anyone knows the AES key", () => {
    expect(() => encryptEnv(new Uint8Array(32), env)).toThrow(InputError);
    const key = new Uint8Array(32);
    const cipher = createCipheriv("aes-256-gcm", key, new Uint8Array(12));
    const sealed = concatBytes(cipher.update(utf8('{"env":[]}')), cipher.final(), cipher.getAuthTag());
    const forged = concatBytes(new Uint8Array(32), new Uint8Array(12), sealed);
    expect(() => decryptEnv(secret, forged)).toThrow(InputError);
  });

  it.each([
    "[]",
    "{}",
    '{"env":{}}',
    '{"env":[{"key":"A"}]}',
    '{"env":[{"key":"A","value":1}]}',
    "no JSON: s3cret",
  ])("refuses a plaintext that is not the format, without quoting it: %s", (text) => {
    const blob = sealEnvText(publicKey, text);
    expect(() => decryptEnv(secret, blob)).toThrow("decrypted environment is not");
  });

  it("refuses what is too short or too long before any work", () => {
    expect(() => decryptEnv(secret, new Uint8Array(59))).toThrow(/too short/);
    expect(() => decryptEnv(secret, new Uint8Array(MAX_ENCRYPTED_ENV_BYTES + 1))).toThrow(/larger/);
  });
});
