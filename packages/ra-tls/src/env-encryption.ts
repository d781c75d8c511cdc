import {
  createCipheriv,
  createDecipheriv,
  createPublicKey,
  diffieHellman,
  generateKeyPairSync,
  randomBytes,
} from "node:crypto";
import type { KeyObject } from "node:crypto";
import { InputError, concatBytes, utf8 } from "@dstack/core";
import { x25519Private } from "./derive.js";

/** One variable of an app's environment. */
export interface EnvVariable {
  readonly key: string;
  readonly value: string;
}

/** Longest `encrypted-env` we read, in bytes. */
export const MAX_ENCRYPTED_ENV_BYTES = 1024 * 1024;

const PUBLIC_KEY_BYTES = 32;
const IV_BYTES = 12;
const TAG_BYTES = 16;

/** SubjectPublicKeyInfo of an X25519 key up to its 32 bytes (RFC 8410 §4). */
const X25519_SPKI_PREFIX = Buffer.from("302a300506032b656e032100", "hex");

function sharedSecret(privateKey: KeyObject, publicKey: Uint8Array): Uint8Array {
  if (publicKey.length !== PUBLIC_KEY_BYTES) throw new InputError("X25519 public key must be 32 bytes");
  const spki = Buffer.concat([X25519_SPKI_PREFIX, publicKey]);
  const peer = createPublicKey({ key: spki, format: "der", type: "spki" });
  try {
    // OpenSSL refuses points of small order, whose shared secret anyone knows (RFC 7748 §6.1).
    return new Uint8Array(diffieHellman({ privateKey, publicKey: peer }));
  } catch (err) {
    throw new InputError("X25519 public key is not acceptable", { cause: err });
  }
}

/**
 * Encrypts an environment to an app (docs/wire.md, `encrypted-env`): ephemeral X25519 public key (32) ‖ IV (12) ‖
 * AES-256-GCM ciphertext and tag. The raw shared secret is the AES key: that is the published format.
 * @param publicKey 32 bytes, from `KMS.GetAppEnvEncryptPubKey`
 * @throws {InputError} not a usable public key
 */
export function encryptEnv(publicKey: Uint8Array, env: readonly EnvVariable[]): Uint8Array {
  return sealEnvText(publicKey, JSON.stringify({ env: env.map(({ key, value }) => ({ key, value })) }));
}

/** The encryption alone, of any text. */
export function sealEnvText(publicKey: Uint8Array, text: string): Uint8Array {
  const ephemeral = generateKeyPairSync("x25519");
  const iv = randomBytes(IV_BYTES);
  const cipher = createCipheriv("aes-256-gcm", sharedSecret(ephemeral.privateKey, publicKey), iv);
  const sealed = [cipher.update(utf8(text)), cipher.final(), cipher.getAuthTag()];
  const own = ephemeral.publicKey.export({ type: "spki", format: "der" });
  return concatBytes(own.subarray(own.length - PUBLIC_KEY_BYTES), iv, ...sealed);
}

/**
 * Opens what {@link encryptEnv} made. The order of the variables is kept, duplicates are not merged.
 * @param secret the app's X25519 secret, 32 bytes
 * @throws {InputError} too long, too short, wrong key, changed, or not the expected JSON
 */
export function decryptEnv(secret: Uint8Array, blob: Uint8Array): EnvVariable[] {
  if (blob.length > MAX_ENCRYPTED_ENV_BYTES) {
    throw new InputError(`encrypted environment is larger than ${MAX_ENCRYPTED_ENV_BYTES} bytes`);
  }
  if (blob.length < PUBLIC_KEY_BYTES + IV_BYTES + TAG_BYTES)
    throw new InputError("encrypted environment is too short");
  const key = sharedSecret(x25519Private(secret), blob.subarray(0, PUBLIC_KEY_BYTES));
  const iv = blob.subarray(PUBLIC_KEY_BYTES, PUBLIC_KEY_BYTES + IV_BYTES);
  const decipher = createDecipheriv("aes-256-gcm", key, iv, { authTagLength: TAG_BYTES });
  decipher.setAuthTag(blob.subarray(blob.length - TAG_BYTES));
  let text: string;
  try {
    const opened = [
      decipher.update(blob.subarray(PUBLIC_KEY_BYTES + IV_BYTES, blob.length - TAG_BYTES)),
      decipher.final(),
    ];
    text = new TextDecoder("utf-8", { fatal: true }).decode(concatBytes(...opened));
  } catch (err) {
    throw new InputError("encrypted environment cannot be decrypted with this app's key", { cause: err });
  }
  return parseEnv(text);
}

function parseEnv(text: string): EnvVariable[] {
  const wrong = (): InputError => new InputError('decrypted environment is not {"env":[{"key","value"}]}');
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's message quotes the text, which is secret.
    throw wrong();
  }
  if (typeof value !== "object" || value === null || !("env" in value) || !Array.isArray(value.env))
    throw wrong();
  return value.env.map((entry: unknown) => {
    if (typeof entry !== "object" || entry === null || !("key" in entry) || !("value" in entry))
      throw wrong();
    if (typeof entry.key !== "string" || typeof entry.value !== "string") throw wrong();
    return { key: entry.key, value: entry.value };
  });
}
