import { InputError, appIdOfCompose, errorMessage, hex, sha256, utf8 } from "@dstack/core";
import type { AppId } from "@dstack/core";
import { parse } from "yaml";
import { reviewCompose } from "./compose-review.js";

export interface AppComposeOptions {
  name: string;
  publicLogs: boolean;
  publicSysinfo: boolean;
  allowedEnvs: readonly string[];
}

/** The exact text that is deployed and measured, and what follows from it. */
export interface AppCompose {
  text: string;
  composeHash: string;
  appId: AppId;
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
export function toAppCompose(fileText: string, options: AppComposeOptions): AppCompose {
  if (utf8(fileText).length > MAX_COMPOSE_BYTES)
    throw new InputError(`the compose file is larger than ${MAX_COMPOSE_BYTES / 1024} KiB`);
  const { text, notices } = isAppCompose(fileText) ? takeAsIs(fileText) : wrap(fileText, options);
  return { text, notices, composeHash: hex(sha256(text)), appId: appIdOfCompose(utf8(text)) };
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

/** A document that is deployed byte for byte; the guest would refuse another runner when it has booted. */
function takeAsIs(text: string): Pick<AppCompose, "text" | "notices"> {
  const { runner, docker_compose_file: dockerCompose } = JSON.parse(text) as Record<string, unknown>;
  if (runner !== "docker-compose")
    throw new InputError('the app-compose document needs "runner": "docker-compose"');
  if (typeof dockerCompose !== "string")
    throw new InputError('"docker_compose_file" of the app-compose document must be text');
  return { text, notices: reviewCompose(parseYaml(dockerCompose), dockerCompose) };
}

function parseYaml(text: string): unknown {
  try {
    return parse(text, { maxAliasCount: 100 });
  } catch (err) {
    const [sentence = ""] = errorMessage(err).split("\n");
    throw new InputError(`the compose file is not YAML: ${sentence.replace(/:$/, "")}`);
  }
}

function wrap(dockerCompose: string, options: AppComposeOptions): Pick<AppCompose, "text" | "notices"> {
  const notices = reviewCompose(parseYaml(dockerCompose), dockerCompose);
  const text = JSON.stringify({
    manifest_version: 1,
    name: options.name,
    runner: "docker-compose",
    docker_compose_file: dockerCompose,
    docker_config: { registry: "", username: "", token_key: "" },
    features: ["kms", "tproxy-net"],
    public_logs: options.publicLogs,
    public_sysinfo: options.publicSysinfo,
    ...(options.allowedEnvs.length > 0 ? { allowed_envs: options.allowedEnvs } : {}),
  });
  return { text, notices };
}
