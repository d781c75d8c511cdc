import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { APP_ADDRESS, routesOf } from "../site.js";
import type { Site } from "../site.js";
import { launch } from "./contender.js";
import type { Contender } from "./contender.js";

const PORTS = { pass: 7201, end: 7202 };

/** nginx's stream module: 64 KiB buffers, half-close passed on, no log. */
export const nginx: Contender = {
  name: "nginx",
  kinds: ["pass", "end"],
  start: (site, options) => {
    const path = join(site.directory, "nginx.conf");
    writeFileSync(path, configuration(site, options.threads ?? 1));
    return launch(["nginx", "-p", site.directory, "-e", "stderr", "-c", path], PORTS, options);
  },
};

function configuration(site: Site, workers: number): string {
  const map = join(site.directory, "nginx.map");
  const routes = [...routesOf(site.ids)];
  writeFileSync(map, routes.map(([route, port]) => `${route} ${APP_ADDRESS}:${port};\n`).join(""));
  const hashSize = 4 * Math.max(2048, 2 ** Math.ceil(Math.log2(routes.length)));
  const table = (variable: string, out: string): string => `
  map ${variable} ${out} {
    default "";
    include ${map};
  }`;
  return `load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes ${workers};
worker_rlimit_nofile 20000;
pid ${join(site.directory, "nginx.pid")};
error_log stderr crit;
events {
  worker_connections 19000;
  multi_accept on;
}
stream {
  map_hash_max_size ${hashSize};
  map_hash_bucket_size 256;
  proxy_buffer_size 64k;
  proxy_half_close on;
  proxy_connect_timeout 5s;
  proxy_timeout 10m;
  tcp_nodelay on;${table("$ssl_preread_server_name", "$passed_to")}${table("$ssl_server_name", "$ended_for")}
  server {
    listen 127.0.0.1:${PORTS.pass} backlog=4096;
    ssl_preread on;
    proxy_pass $passed_to;
  }
  server {
    listen 127.0.0.1:${PORTS.end} ssl backlog=4096;
    ssl_certificate ${site.certPath};
    ssl_certificate_key ${site.keyPath};
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ecdh_curve X25519;
    ssl_conf_command Ciphersuites TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384;
    proxy_pass $ended_for;
  }
}
`;
}
