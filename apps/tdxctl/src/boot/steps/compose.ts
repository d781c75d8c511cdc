import { hex, sameBytes, utf8 } from "@dstack/core";
import type { AppCompose } from "../app-compose.js";
import { dockerClientConfig, dockerDaemonConfig, projectName } from "../docker.js";
import type { GuestSystem } from "../guest-system.js";
import type { Identity } from "../identity.js";

/** On the data disk: the hash of the compose document whose containers are there. */
const COMPOSE_HASH_FILE = ".compose_hash";

/**
 * Starts the engine. Containers of another compose document than the measured one are taken away first: the engine
 * would start them again, and what they do would pass for the doing of the document that every quote names.
 */
export async function startEngine(
  system: GuestSystem,
  app: { mirror: string | undefined; identity: Identity },
  signal: AbortSignal,
): Promise<void> {
  const hash = hex(app.identity.composeHash);
  const written = await system.dataDisk.readFile(COMPOSE_HASH_FILE, hash.length);
  const same = written !== undefined && sameBytes(written, utf8(hash));
  await system.startDocker(dockerDaemonConfig(app.mirror), same ? "keep" : "remove", signal);
  if (!same) await system.dataDisk.writeFile(COMPOSE_HASH_FILE, hash);
}

/** Starts the app's containers. */
export async function startCompose(
  system: GuestSystem,
  compose: AppCompose,
  environment: Readonly<Record<string, string>>,
  signal: AbortSignal,
): Promise<void> {
  await system.composeUp(
    {
      name: projectName(compose.name),
      composeFile: compose.dockerComposeFile,
      environment,
      dockerConfig: dockerClientConfig(compose.login, environment),
    },
    signal,
  );
}
