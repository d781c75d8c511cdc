import {
  InputError,
  errorMessage,
  readRegularFile,
  readRegularFileIfAny,
  writeFileAtomic,
} from "@dstack/core";
import { mkdir } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { parse, stringify } from "smol-toml";
import { z } from "zod";

/** No dot and no colon, so that a name is never taken for an address. */
const HOST_NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$/;

const Host = z.strictObject({
  url: z.url({ protocol: /^https?$/ }),
  /** Absolute paths. */
  token_file: z.string().optional(),
  kms_ca: z.string().optional(),
});
export type Host = z.infer<typeof Host>;

const HostsFile = z.strictObject({ hosts: z.record(z.string().regex(HOST_NAME), Host).default({}) });

const MAX_FILE_BYTES = 256 * 1024;
const MAX_TOKEN_BYTES = 4096;

/** `$XDG_CONFIG_HOME/dstack/hosts.toml`: the teepods somebody works with, by name. It holds no secrets, only where they lie. */
export function hostsPath(): string {
  const config = process.env["XDG_CONFIG_HOME"];
  return join(
    config === undefined || config === "" ? join(homedir(), ".config") : config,
    "dstack",
    "hosts.toml",
  );
}

/** @throws {InputError} the file is not one of ours */
export async function readHosts(path = hostsPath()): Promise<Map<string, Host>> {
  const bytes = await readRegularFileIfAny(path, MAX_FILE_BYTES);
  if (bytes === undefined) return new Map();
  try {
    return new Map(Object.entries(HostsFile.parse(parse(new TextDecoder().decode(bytes))).hosts));
  } catch (err) {
    const why = err instanceof z.ZodError ? z.prettifyError(err) : errorMessage(err);
    throw new InputError(`${path}: ${why}`);
  }
}

/** @throws {InputError} a name or an address that is none */
export async function saveHost(name: string, host: Host): Promise<void> {
  if (!HOST_NAME.test(name))
    throw new InputError(`a host is called by letters, digits, - and _, and ${JSON.stringify(name)} is not`);
  const checked = Host.safeParse(host);
  if (!checked.success)
    throw new InputError(`${host.url} is not a URL such as https://berlin.example.org:9080`);
  await save((await readHosts()).set(name, checked.data));
}

/** @returns whether there was one of that name */
export async function forgetHost(name: string): Promise<boolean> {
  const hosts = await readHosts();
  const known = hosts.delete(name);
  if (known) await save(hosts);
  return known;
}

async function save(hosts: ReadonlyMap<string, Host>): Promise<void> {
  const path = hostsPath();
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFileAtomic(path, `${stringify({ hosts: Object.fromEntries(hosts) })}\n`, { mode: 0o600 });
}

/** The host's token, which is read when it is used. @throws {InputError} it cannot be read */
export async function tokenOf(host: Host): Promise<string | undefined> {
  if (host.token_file === undefined) return undefined;
  try {
    return new TextDecoder().decode(await readRegularFile(host.token_file, MAX_TOKEN_BYTES)).trim();
  } catch (err) {
    throw new InputError(`cannot read the token ${host.token_file}: ${errorMessage(err)}`, { cause: err });
  }
}
