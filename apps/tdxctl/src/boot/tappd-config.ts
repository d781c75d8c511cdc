import type { GuestSystem } from "./guest-system.js";

/**
 * `tappd.toml`.
 * @param files paths of the keys file and of the copy of the compose document
 */
export function tappdConfig(
  system: Pick<GuestSystem, "paths" | "tappd">,
  files: { keys: string; appCompose: string },
): string {
  const { paths, tappd } = system;
  const text = (value: string): string => JSON.stringify(value); // a TOML basic string, for paths of ours
  const lines = [
    `docker_socket = ${text(paths.dockerSocket)}`,
    "",
    "[core]",
    `keys_file = ${text(files.keys)}`,
    `app_compose_file = ${text(files.appCompose)}`,
    `event_log = ${text(paths.eventLog)}`,
    "",
    "[sockets]",
    `tappd = ${text(paths.sockets.tappd)}`,
    `dstack = ${text(paths.sockets.dstack)}`,
    "",
    "[external]",
    `host = ${text(tappd.host)}`,
    `port = ${tappd.port}`,
    `tls_port = ${tappd.tlsPort}`,
  ];
  return `${lines.join("\n")}\n`;
}
