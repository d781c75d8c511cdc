import type { TappdConfig } from "../../src/index.js";

/** `tappd.toml` for a guest of the fixture, with free ports. */
export function configFile({ core, sockets, docker_socket }: TappdConfig, simulatorSocket: string): string {
  return [
    `docker_socket = "${docker_socket}"`,
    `sockets = { tappd = "${sockets.tappd}", dstack = "${sockets.dstack}" }`,
    `[core]`,
    `keys_file = "${core.keys_file}"`,
    `app_compose_file = "${core.app_compose_file}"`,
    `event_log = "${core.event_log}"`,
    `simulator_socket = "${simulatorSocket}"`,
    `[external]`,
    `host = "127.0.0.1"`,
    `port = 0`,
    `tls_port = 0`,
  ].join("\n");
}
