import { InputError } from "@dstack/core";
import { decryptEnv } from "@dstack/ra-tls";
import type { AppCompose } from "./app-compose.js";

/**
 * The app's variables out of the host's bundle (K7). The bundle is encrypted to a key of this app alone, and it may set
 * only what the compose document, which is measured, allows.
 * @param secret the app's X25519 secret, 32 bytes
 * @throws {InputError} cannot be decrypted, a name that is not allowed, or one that is given twice. The message never
 * holds a value.
 */
export function openEnvironment(
  secret: Uint8Array,
  bundle: Uint8Array | undefined,
  compose: AppCompose,
): Record<string, string> {
  if (bundle === undefined) return {};
  const allowed = new Set(compose.allowedEnvs);
  const environment = new Map<string, string>();
  for (const { key, value } of decryptEnv(secret, bundle)) {
    if (!allowed.has(key)) {
      throw new InputError(
        `the encrypted environment sets ${JSON.stringify(key)}, which allowed_envs does not name`,
      );
    }
    if (environment.has(key)) throw new InputError(`the encrypted environment sets ${key} twice`);
    if (value.includes("\0")) throw new InputError(`the value of ${key} holds a NUL character`);
    environment.set(key, value);
  }
  return Object.fromEntries(environment);
}
