import { keysFile } from "../app-keys.js";
import type { AppKeys } from "../app-keys.js";
import type { GuestSystem } from "../guest-system.js";
import type { Identity } from "../identity.js";
import { tappdConfig } from "../tappd-config.js";
import type { HostShare } from "./read-share.js";

/** Writes tappd's files and starts it. Containers see its sockets, so `system-ready` must be measured by now (E5). */
export async function startTappd(
  system: GuestSystem,
  app: { host: HostShare; keys: AppKeys; identity: Identity },
  signal: AbortSignal,
): Promise<void> {
  const files = {
    keys: await system.writeRunFile("appkeys.json", keysFile(app.keys, app.identity)),
    appCompose: await system.writeRunFile("app-compose.json", app.host.composeBytes),
  };
  const config = tappdConfig(system, files, app.host.config.vmConfig);
  await system.startTappd(await system.writeRunFile("tappd.toml", config), signal);
}
