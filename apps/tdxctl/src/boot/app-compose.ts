import { parseSockets } from "@dstack/app-compose/sockets";
import { InputError, appIdOfCompose, sha256 } from "@dstack/core";
import type { AppId } from "@dstack/core";
import { z } from "zod";
import { parseJson } from "./share.js";

/** POSIX names; compose interpolates no others. */
const envName = z.string().regex(/^[A-Za-z_][A-Za-z0-9_]*$/, "must be the name of an environment variable");

const port = z.int().min(1).max(65535);

const AppComposeSchema = z.object({
  name: z.string().default(""),
  runner: z.string(),
  docker_compose_file: z.string().optional(),
  docker_config: z
    .object({
      registry: z.string().nullish(),
      username: z.string().nullish(),
      token_key: z.string().nullish(),
    })
    .nullish(),
  features: z.array(z.string()).default([]),
  allowed_envs: z.array(envName).max(1024).default([]),
  proxy_protocol_ports: z.array(port).max(16).default([]),
  public_ports: z.array(port).max(64).optional(),
  sockets: z.unknown().optional(),
});

/** Where the app's images come from, when the registry wants to know who asks. */
export interface RegistryLogin {
  readonly registry: string;
  readonly username: string;
  /** The environment variable that holds the token. */
  readonly tokenKey: string;
}

/** What of the app-compose document the boot acts on. */
export interface AppCompose {
  readonly name: string;
  readonly dockerComposeFile: string;
  readonly login: RegistryLogin | undefined;
  readonly usesTproxy: boolean;
  readonly allowedEnvs: readonly string[];
  /** On which tproxy says by the PROXY protocol (version 2) who the client is. */
  readonly proxyProtocolPorts: readonly number[];
  /** On which the app is reached through the tunnel; on all of them where the document does not say. */
  readonly publicPorts: readonly number[] | undefined;
  /** Whether tappd makes sockets beside its classic ones (G7), which are there when it answers. */
  readonly hasScopedSockets: boolean;
  /** SHA-256 of the document's exact bytes. */
  readonly hash: Uint8Array;
  /** The id an app has that starts with this document. */
  readonly ownAppId: AppId;
}

/**
 * @throws {InputError} not JSON, not a `docker-compose` app, or one that does not take its keys from a KMS: this guest
 * has no other source
 */
export function parseAppCompose(bytes: Uint8Array): AppCompose {
  const parsed = parseJson("app-compose.json", bytes, AppComposeSchema);
  if (parsed.runner !== "docker-compose" || parsed.docker_compose_file === undefined) {
    throw new InputError('app-compose.json: the runner must be "docker-compose", with a docker_compose_file');
  }
  if (!parsed.features.includes("kms")) {
    throw new InputError(
      'app-compose.json: "features" must contain "kms": an app without keys cannot have a disk',
    );
  }
  const { registry, username, token_key } = parsed.docker_config ?? {};
  const login =
    username !== undefined &&
    username !== null &&
    username !== "" &&
    token_key !== undefined &&
    token_key !== null
      ? { registry: registry ?? "", username, tokenKey: token_key }
      : undefined;
  return {
    name: parsed.name,
    dockerComposeFile: parsed.docker_compose_file,
    login: login?.tokenKey === "" ? undefined : login,
    usesTproxy: parsed.features.includes("tproxy-net"),
    allowedEnvs: parsed.allowed_envs,
    proxyProtocolPorts: parsed.proxy_protocol_ports,
    publicPorts: parsed.public_ports,
    hasScopedSockets: parseSockets(parsed.sockets).size > 0,
    hash: sha256(bytes),
    ownAppId: appIdOfCompose(bytes),
  };
}
