import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { APP_ADDRESS, routesOf } from "../site.js";
import type { Site } from "../site.js";
import { launch } from "./contender.js";
import type { Contender } from "./contender.js";

interface Tuning {
  /** `splice-request` and `splice-response`: `splice-auto` never engages here. */
  readonly splice: boolean;
  readonly bufferBytes: number;
}

interface Ports {
  readonly pass: number;
  readonly end: number;
}

/**
 * HAProxy as an expert sets it up: as many threads as all have, routes by map, no log. An unknown name is refused: with the
 * server `0.0.0.0:0` it would connect to itself without end.
 */
export function haproxy(name: string, ports: Ports, tuning: Tuning): Contender {
  return {
    name,
    kinds: ["pass", "end"],
    start: (site, options) => {
      const path = join(site.directory, `${name}.cfg`);
      writeFileSync(path, configuration(site, name, ports, tuning, options.threads ?? 1));
      return launch(["haproxy", "-db", "-q", "-f", path], ports, options);
    },
  };
}

function configuration(
  site: Site,
  name: string,
  ports: Ports,
  { splice, bufferBytes }: Tuning,
  threads: number,
): string {
  const addresses = join(site.directory, `${name}.addresses`);
  const appPorts = join(site.directory, `${name}.ports`);
  const routes = [...routesOf(site.ids)];
  writeFileSync(addresses, routes.map(([route]) => `${route} ${APP_ADDRESS}\n`).join(""));
  writeFileSync(appPorts, routes.map(([route, port]) => `${route} ${port}\n`).join(""));
  const routing = (serverName: string): string => `
  tcp-request content set-var(sess.address) ${serverName},lower,map_str_ip(${addresses})
  tcp-request content set-var(sess.port) ${serverName},lower,map_str_int(${appPorts})
  tcp-request content reject unless { var(sess.address) -m found }
  tcp-request content set-dst var(sess.address)
  tcp-request content set-dst-port var(sess.port)
  default_backend apps`;
  // The first rule waits for the whole hello; one with WAIT_END before it would wait out the delay every time.
  return `global
  nbthread ${threads}
  maxconn 8000
  maxpipes 1500
  tune.bufsize ${bufferBytes}
  tune.pipesize 1048576
  ssl-default-bind-options ssl-min-ver TLSv1.2
  ssl-default-bind-curves X25519
  ssl-default-bind-ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384

defaults
  mode tcp
  backlog 4096
  timeout connect 5s
  timeout client 10m
  timeout server 10m
  option tcp-smart-accept
  option tcp-smart-connect
  ${splice ? "option splice-request\n  option splice-response" : ""}

frontend passing
  bind 127.0.0.1:${ports.pass} defer-accept
  tcp-request inspect-delay 5s
  tcp-request content reject unless { req.ssl_hello_type 1 }${routing("req.ssl_sni")}

frontend ending
  bind 127.0.0.1:${ports.end} defer-accept ssl crt ${site.bothPath}${routing("ssl_fc_sni")}

backend apps
  server any 0.0.0.0:0
`;
}
