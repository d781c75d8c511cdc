import { InputError, fromHex, parseAppId, parseInstanceId, readRegularFile } from "@dstack/core";
import type { AppId, InstanceId } from "@dstack/core";
import { CertificateAuthority } from "@dstack/ra-tls";
import type { AppK256Key } from "@dstack/ra-tls";
import { z } from "zod";

const MAX_KEYS_BYTES = 256 * 1024;

/** The file holds more (disk and environment keys); only what tappd needs is read. Bytes are hex. */
const KeysFile = z.looseObject({
  app_id: z.string(),
  instance_id: z.string(),
  app_key: z.string(),
  certificate_chain: z.array(z.string()).min(1),
  k256_key: z.string().default(""),
  k256_signature: z.string().default(""),
});

/** What the KMS gave to this app. Secrets; never logged. */
export interface AppKeys {
  readonly appId: AppId;
  readonly instanceId: InstanceId;
  /** The app key is the key of the app's own CA, which the KMS signed. */
  readonly ca: CertificateAuthority;
  /** Parent of the keys of `DstackGuest.GetKey`; absent when the KMS does not issue one. */
  readonly k256: AppK256Key | undefined;
}

/**
 * Reads the keys file.
 * @throws {InputError} naming what is wrong, never quoting it; or a system error
 */
export async function loadAppKeys(path: string): Promise<AppKeys> {
  return parseAppKeys(await readRegularFile(path, MAX_KEYS_BYTES));
}

/** @throws {InputError} naming what is wrong, never quoting it */
export function parseAppKeys(bytes: Uint8Array): AppKeys {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    // The parser's message would quote the file.
    throw new InputError("the app keys file is not JSON");
  }
  const parsed = KeysFile.safeParse(value);
  if (!parsed.success) {
    const keys = parsed.error.issues.map((issue) => issue.path.join("."));
    throw new InputError(`the app keys file has no usable ${keys.join(", ")}`);
  }
  const { app_id, instance_id, app_key, certificate_chain, k256_key, k256_signature } = parsed.data;
  return {
    appId: parseAppId(app_id),
    instanceId: parseInstanceId(instance_id),
    ca: CertificateAuthority.load(certificate_chain.join("\n"), app_key),
    k256:
      k256_key === ""
        ? undefined
        : {
            key: fromHex(k256_key, "k256_key", 32),
            signature: fromHex(k256_signature, "k256_signature", 65),
          },
  };
}
