import { InputError } from "@dstack/core";
import type { RegistryLogin } from "./app-compose.js";

/** Docker's data root, on the encrypted disk. */
export const DOCKER_ROOT = "/data/docker";

/**
 * `daemon.json`.
 * @param mirror origin of a registry the host offers as a mirror, such as `http://10.0.2.2:5500`. Like the network
 * itself it may answer with anything: an app that cares names its images by digest.
 */
export function dockerDaemonConfig(mirror: string | undefined): string {
  const config = {
    "data-root": DOCKER_ROOT,
    "storage-driver": "overlay2",
    "userland-proxy": false,
    ip6tables: false,
    "exec-opts": ["native.cgroupdriver=cgroupfs"],
    "log-driver": "json-file",
    "log-opts": { "max-size": "10m", "max-file": "3" },
    ...(mirror === undefined ? {} : { "registry-mirrors": [mirror], ...insecure(new URL(mirror)) }),
  };
  return `${JSON.stringify(config, undefined, 2)}\n`;
}

function insecure(mirror: URL): { "insecure-registries"?: string[] } {
  return mirror.protocol === "http:" ? { "insecure-registries": [mirror.host] } : {};
}

/**
 * The Docker client's `config.json` with the app's registry credentials.
 * @throws {InputError} the variable that holds the token is not in the environment
 */
export function dockerClientConfig(
  login: RegistryLogin | undefined,
  environment: Readonly<Record<string, string>>,
): string | undefined {
  if (login === undefined) return undefined;
  const token = environment[login.tokenKey];
  if (token === undefined) {
    throw new InputError(
      `docker_config.token_key names ${login.tokenKey}, which the environment does not set`,
    );
  }
  // The name Docker keeps its own hub's credentials under.
  const registry = login.registry === "" ? "https://index.docker.io/v1/" : login.registry;
  const auth = Buffer.from(`${login.username}:${token}`).toString("base64");
  return JSON.stringify({ auths: { [registry]: { auth } } });
}

/** A compose project's name: what is left of the app's, or `app`. Docker wants two characters or more. */
export function projectName(appName: string): string {
  const name = appName
    .toLowerCase()
    .replace(/[^a-z0-9-]+/g, "-")
    .replace(/^-+|-+$/g, "")
    .slice(0, 40);
  return name.length < 2 ? "app" : name;
}
