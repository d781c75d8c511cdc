import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { APP_ADDRESS, routesOf } from "../site.js";
import { launch } from "./contender.js";
import type { Contender } from "./contender.js";

const PORT = 7301;

/** sniproxy: passes through only; its routes are a list of regular expressions that is tried from the top. */
export const sniproxy: Contender = {
  name: "sniproxy",
  kinds: ["pass"],
  start: (site, options) => {
    const path = join(site.directory, "sniproxy.conf");
    const rows = [...routesOf(site.ids)].map(
      ([route, port]) => `  ^${route.replaceAll(".", "\\\\.")}$ ${APP_ADDRESS}:${port}\n`,
    );
    writeFileSync(
      path,
      `user root
pidfile ${join(site.directory, "sniproxy.pid")}
error_log {
  filename ${join(site.directory, "sniproxy.log")}
  priority error
}
listener 127.0.0.1:${PORT} {
  proto tls
  table apps
}
table apps {
${rows.join("")}}
`,
    );
    return launch(["sniproxy", "-f", "-c", path], { pass: PORT }, options);
  },
};
