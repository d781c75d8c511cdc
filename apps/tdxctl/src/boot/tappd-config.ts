import type { GuestSystem } from "./guest-system.js";

/**
 * `tappd.toml`.
 * @param files paths of the keys file and of the copy of the compose document
 * @param vmConfig JSON text, printable ASCII
 */
export function tappdConfig(
  system: Pick<GuestSystem, "paths" | "tappd">,
  files: { keys: string; appCompose: string },
  vmConfig: string,
): string {
  const { paths, tappd } = system;
  const text = (value: string): string => JSON.stringify(value); // a TOML basic string, for texts of ours
  const lines = [
    `docker_socket = ${text(paths.dockerSocket)}`,
    "",
    "[core]",
    `keys_file = ${text(files.keys)}`,
    `app_compose_file = ${text(files.appCompose)}`,
    `event_log = ${text(paths.eventLog)}`,
    `vm_config = ${text(vmConfig)}`,
    "",
    "[sockets]",
    `tappd = ${text(paths.sockets.tappd)}`,
    `dstack = ${text(paths.sockets.dstack)}`,
    `scoped_dir = ${text(paths.scopedSockets)}`,
    "",
    "[external]",
    `host = ${text(tappd.host)}`,
    `port = ${tappd.port}`,
    `tls_port = ${tappd.tlsPort}`,
  ];
  return `${lines.join("\n")}\n`;
}
