import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { join } from "node:path";
import { InputError, errorCode, readRegularFile, readRegularFileIfAny } from "@dstack/core";
import { MAX_ENCRYPTED_ENV_BYTES } from "@dstack/ra-tls";
import { z } from "zod";

/** The largest app-compose document a guest runs. */
export const MAX_COMPOSE_BYTES = 256 * 1024;
const MAX_CONFIG_BYTES = 64 * 1024;
const MAX_CERTIFICATE_BYTES = 64 * 1024;
const MAX_INSTANCE_INFO_BYTES = 4 * 1024;
/** Seed and boot event log of the simulated platform. */
const MAX_SIMULATOR_BYTES = 1024 * 1024;

/** The host's files as they were when they were read, once. Nothing else of the share is ever looked at. */
export interface RawShare {
  readonly appCompose: Uint8Array;
  readonly config: Uint8Array;
  /** PEM of the KMS root CA; absent where the app uses no KMS. */
  readonly caCert: Uint8Array | undefined;
  readonly encryptedEnv: Uint8Array | undefined;
  readonly instanceInfo: Uint8Array | undefined;
  readonly simulator: Uint8Array | undefined;
  /** OpenSSH public keys; only the development image looks at them. */
  readonly authorizedKeys: Uint8Array | undefined;
}

/**
 * Copies the host's files into memory: regular files only, no links, each with its cap, other names ignored (G1).
 * @throws {InputError} a file that is missing, too long, or not a regular file
 */
export async function readShare(directory: string): Promise<RawShare> {
  return {
    appCompose: await required(directory, "app-compose.json", MAX_COMPOSE_BYTES),
    config: await required(directory, "config.json", MAX_CONFIG_BYTES),
    caCert: await inDirectory(directory, "certs", (certs) =>
      readRegularFileIfAny(join(certs, "ca.cert"), MAX_CERTIFICATE_BYTES),
    ),
    encryptedEnv: await readRegularFileIfAny(join(directory, "encrypted-env"), MAX_ENCRYPTED_ENV_BYTES),
    instanceInfo: await readRegularFileIfAny(join(directory, ".instance_info"), MAX_INSTANCE_INFO_BYTES),
    simulator: await readRegularFileIfAny(join(directory, "simulator.json"), MAX_SIMULATOR_BYTES),
    authorizedKeys: await readRegularFileIfAny(join(directory, "authorized_keys"), MAX_CONFIG_BYTES),
  };
}

async function required(directory: string, name: string, maxBytes: number): Promise<Uint8Array> {
  try {
    return await readRegularFile(join(directory, name), maxBytes);
  } catch (err) {
    if (errorCode(err) === "ENOENT") throw new InputError(`the host share has no ${name}`);
    throw err;
  }
}

/** Reads below a directory that must not be a link either: by its descriptor, so that it cannot become one. */
async function inDirectory<T>(
  parent: string,
  name: string,
  read: (path: string) => Promise<T>,
): Promise<T | undefined> {
  let directory;
  try {
    directory = await open(
      join(parent, name),
      constants.O_RDONLY | constants.O_DIRECTORY | constants.O_NOFOLLOW,
    );
  } catch (err) {
    if (errorCode(err) === "ENOENT") return undefined;
    if (errorCode(err) === "ELOOP" || errorCode(err) === "ENOTDIR") {
      throw new InputError(`${name} in the host share is not a directory`);
    }
    throw err;
  }
  try {
    return await read(`/proc/self/fd/${directory.fd}`);
  } finally {
    await directory.close();
  }
}

const url = (protocol: RegExp, what: string) =>
  z
    .string()
    .max(2048)
    .refine((text) => URL.canParse(text) && protocol.test(new URL(text).protocol), `must be an ${what} URL`);
const httpUrl = url(/^https?:$/, "http(s)");
/** What answers there is known by its certificate alone. */
const httpsUrl = url(/^https:$/, "https");

/**
 * The shape of the VM as the host describes it, for verifiers that recompute the registers from it: a wrong one makes
 * them disagree with the quote. A guest cannot know better, the image's hash is in no measured data of its own.
 */
const VmConfigSchema = z.object({
  image: z
    .string()
    .regex(/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/, "must be the name of an image")
    .optional(),
  os_image_hash: z
    .string()
    .regex(/^[0-9a-f]{64}$/, "must be 64 lower-case hex digits")
    .optional(),
  cpu_count: z.int().positive().optional(),
  memory_size: z.int().positive().optional(),
});

/** `config.json`: hints from the host. Nothing in it is trusted; keys nobody knows are ignored. */
const HostConfigSchema = z.object({
  kms_url: httpsUrl.optional(),
  tproxy_url: httpsUrl.optional(),
  docker_registry: z.union([z.literal(""), httpUrl]).optional(),
  vm_config: VmConfigSchema.optional(),
});

export interface HostConfig {
  readonly kmsUrl: string | undefined;
  readonly tproxyUrl: string | undefined;
  /** Origin of a registry that mirrors the public one, such as `http://10.0.2.2:5500`. */
  readonly dockerRegistry: string | undefined;
  /** JSON text, written anew from the checked values: `{}` when the host says nothing. */
  readonly vmConfig: string;
}

/** @throws {InputError} not JSON in UTF-8, or a known key with another type */
export function parseHostConfig(bytes: Uint8Array): HostConfig {
  const config = parseJson("config.json", bytes, HostConfigSchema);
  const { kms_url, tproxy_url, docker_registry } = config;
  return {
    kmsUrl: kms_url,
    tproxyUrl: tproxy_url,
    dockerRegistry:
      docker_registry === undefined || docker_registry === "" ? undefined : new URL(docker_registry).origin,
    vmConfig: JSON.stringify(config.vm_config ?? {}),
  };
}

/**
 * Reads JSON in strict UTF-8 into a shape.
 * @throws {InputError} naming the file and what is wrong, never quoting it
 */
export function parseJson<T>(name: string, bytes: Uint8Array, schema: z.ZodType<T>): T {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes));
  } catch {
    throw new InputError(`${name} is not JSON in UTF-8`);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0];
    throw new InputError(`${name}: ${issue?.path.join(".") ?? ""}: ${issue?.message ?? "not as expected"}`);
  }
  return parsed.data;
}
