import { InputError } from "@dstack/core/errors";
import { readYaml } from "./read-yaml.js";
import { reviewCompose } from "./review.js";
import { parseSockets } from "./sockets.js";

export interface AppComposeOptions {
  name: string;
  publicLogs: boolean;
  publicSysinfo: boolean;
  /** The document itself and the event log. */
  publicTcbinfo?: boolean;
  allowedEnvs: readonly string[];
}

/** The exact text that is deployed and measured. */
export interface AppComposeText {
  text: string;
  /** What its developer should know before it runs. */
  notices: readonly string[];
}

/** Larger documents are refused by teepod and by the guest. */
export const MAX_COMPOSE_BYTES = 256 * 1024;

/**
 * Turns what a developer has into an app-compose document: a `docker-compose.yaml` is wrapped, a document that is
 * one already is taken byte for byte.
 * @throws {InputError} neither YAML with services nor an app-compose document
 */
export function toAppComposeText(fileText: string, options: AppComposeOptions): AppComposeText {
  requireSize("the compose file", fileText);
  const made = isAppCompose(fileText) ? takeAsIs(fileText, options) : wrap(fileText, options);
  requireSize("the app-compose document", made.text);
  return made;
}

/** @throws {InputError} `what` is larger than a VM takes */
export function requireSize(what: string, text: string): void {
  if (new TextEncoder().encode(text).length > MAX_COMPOSE_BYTES)
    throw new InputError(`${what} is larger than ${MAX_COMPOSE_BYTES / 1024} KiB`);
}

/** Whether this is an app-compose document already. */
export function isAppCompose(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === "object" && value !== null && "docker_compose_file" in value;
  } catch {
    return false;
  }
}

/** The name an app-compose document gives itself; undefined for other text. */
export function nameOfAppCompose(text: string): string | undefined {
  if (!isAppCompose(text)) return undefined;
  const { name } = JSON.parse(text) as Record<string, unknown>;
  return typeof name === "string" ? name : undefined;
}

/** A document that is deployed byte for byte; the guest would refuse another runner when it has booted. */
function takeAsIs(text: string, { allowedEnvs }: AppComposeOptions): AppComposeText {
  const {
    runner,
    docker_compose_file: dockerCompose,
    allowed_envs: named,
    sockets,
  } = JSON.parse(text) as Record<string, unknown>;
  if (runner !== "docker-compose")
    throw new InputError('the app-compose document needs "runner": "docker-compose"');
  if (typeof dockerCompose !== "string")
    throw new InputError('"docker_compose_file" of the app-compose document must be text');
  parseSockets(sockets);
  const known: unknown[] = Array.isArray(named) ? named : [];
  const unnamed = allowedEnvs.filter((key) => !known.includes(key));
  if (unnamed.length > 0)
    throw new InputError(`"allowed_envs" of the app-compose document does not name ${unnamed.join(", ")}`);
  return { text, notices: reviewCompose(readYaml(dockerCompose), dockerCompose, allowedEnvs) };
}

function wrap(dockerCompose: string, options: AppComposeOptions): AppComposeText {
  const notices = reviewCompose(readYaml(dockerCompose), dockerCompose, options.allowedEnvs);
  const text = JSON.stringify({
    manifest_version: 1,
    name: options.name,
    runner: "docker-compose",
    docker_compose_file: dockerCompose,
    docker_config: { registry: "", username: "", token_key: "" },
    features: ["kms", "tproxy-net"],
    public_logs: options.publicLogs,
    public_sysinfo: options.publicSysinfo,
    ...(options.publicTcbinfo === true ? { public_tcbinfo: true } : {}),
    ...(options.allowedEnvs.length > 0 ? { allowed_envs: options.allowedEnvs } : {}),
  });
  return { text, notices };
}
