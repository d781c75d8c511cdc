import type { AppCompose } from "../app-compose.js";
import { dockerClientConfig, projectName } from "../docker.js";
import type { GuestSystem } from "../guest-system.js";

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
