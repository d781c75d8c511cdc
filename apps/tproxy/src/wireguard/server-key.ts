import { InputError, createFileExclusive, errorCode, errorMessage, readRegularFileIfAny } from "@dstack/core";
import { generateKeyPair, parsePrivateKey, publicKeyOf } from "@dstack/wireguard-tools-wrapper";
import type { WireGuardKeyPair } from "@dstack/wireguard-tools-wrapper";
import type { TproxyConfig } from "../config.js";

/** A key is 44 characters and a newline. */
const MAX_KEY_FILE_BYTES = 256;

/**
 * The tunnel's own key pair, from the configuration or from its file, which is made on the first start.
 * @throws {InputError} a key that is none, or not the one of `public_key`
 */
export async function loadServerKey(wg: TproxyConfig["wg"]): Promise<WireGuardKeyPair> {
  const privateKey = parsePrivateKey(wg.private_key ?? (await readOrMake(wg.private_key_file)));
  const publicKey = publicKeyOf(privateKey);
  if (wg.public_key !== undefined && wg.public_key !== publicKey) {
    throw new InputError("wg.public_key does not belong to the private key");
  }
  return { privateKey, publicKey };
}

async function readOrMake(path: string | undefined): Promise<string> {
  if (path === undefined) throw new InputError("wg needs private_key or private_key_file");
  try {
    const present = await readRegularFileIfAny(path, MAX_KEY_FILE_BYTES);
    if (present !== undefined) return Buffer.from(present).toString("utf8").trim();
    const { privateKey } = generateKeyPair();
    await createFileExclusive(path, `${privateKey}\n`, { mode: 0o600 });
    return privateKey;
  } catch (err) {
    const why = errorCode(err) ?? errorMessage(err);
    throw new InputError(`wg.private_key_file ${path}: ${why}`, { cause: err });
  }
}
