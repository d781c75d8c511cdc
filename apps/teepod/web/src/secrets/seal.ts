import { gcm } from "@noble/ciphers/aes.js";
import { x25519 } from "@noble/curves/ed25519.js";
import { bytesToHex, concatBytes, utf8ToBytes } from "@noble/hashes/utils.js";
import type { Secret } from "./secret-fields.js";

/**
 * Encrypts variables to an app as `encryptEnv` of `@dstack/ra-tls` does (wire.md `encrypted-env`): ephemeral X25519
 * key (32) ‖ IV (12) ‖ AES-256-GCM, with the raw shared secret as the key. Without `crypto.subtle`, which is only
 * there in a secure context; its random numbers are there always.
 * @param publicKey the app's X25519 key, 32 bytes
 * @returns hex
 */
export function sealSecrets(publicKey: Uint8Array, secrets: readonly Secret[]): string {
  const env = secrets.map(({ key, value }) => ({ key, value }));
  const ephemeral = crypto.getRandomValues(new Uint8Array(32));
  const iv = crypto.getRandomValues(new Uint8Array(12));
  // Refuses points of small order, whose shared secret anyone knows.
  const shared = x25519.getSharedSecret(ephemeral, publicKey);
  const sealed = gcm(shared, iv).encrypt(utf8ToBytes(JSON.stringify({ env })));
  return bytesToHex(concatBytes(x25519.getPublicKey(ephemeral), iv, sealed));
}
