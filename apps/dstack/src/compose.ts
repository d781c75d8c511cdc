import { InputError, appIdOfCompose, hex, sha256, utf8 } from "@dstack/core";
import type { AppId } from "@dstack/core";
import { parse } from "yaml";

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
  const text = isAppCompose(fileText) ? fileText : wrap(fileText, options);
  return { text, composeHash: hex(sha256(text)), appId: appIdOfCompose(utf8(text)) };
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

function wrap(dockerCompose: string, options: AppComposeOptions): string {
  let document: unknown;
  try {
    document = parse(dockerCompose, { maxAliasCount: 100 });
  } catch (err) {
    throw new InputError(
      `the compose file is not YAML: ${err instanceof Error ? err.message.split("\n")[0] : String(err)}`,
    );
  }
  const services: unknown =
    typeof document === "object" && document !== null && "services" in document
      ? document.services
      : undefined;
  if (typeof services !== "object" || services === null || Object.keys(services).length === 0) {
    throw new InputError("the compose file has no services");
  }
  return JSON.stringify({
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
}
