// The program that runs one of our engines, as tproxy does: every connection's report reaches the control plane and its
// histograms. `host.mjs <engine> <port> <site.json> <threads> [busy]`; with the engine "none" it is only a busy neighbour.
import { readFileSync } from "node:fs";
import { Histogram } from "../../../packages/daemon/src/index.js";
import {
  checkCertificate,
  createJsDataPlane,
  createNativeDataPlane,
} from "../../../packages/tls-proxy/src/index.js";
import type { ConnectionReport } from "../../../packages/tls-proxy/src/index.js";
import { APP_ADDRESS, BASE_DOMAIN } from "../site.js";
import type { Site } from "../site.js";

const BUSY_EVERY_MS = 100;
const BUSY_MS = 20;
const MANY = 100_000;

const [engine = "", port = "", sitePath = "", threads = "", busy] = process.argv.slice(2);
const site = JSON.parse(readFileSync(sitePath, "utf8")) as Site;

const durations = new Histogram({
  name: "duration",
  help: "seconds",
  labelNames: ["outcome"],
  registers: [],
});

const options = {
  listeners: [{ host: "127.0.0.1", port: Number(port) }],
  routes: {
    baseDomains: [BASE_DOMAIN],
    backends: new Map(site.ids.map((id) => [id, [{ appId: id, instanceId: id, host: APP_ADDRESS }]])),
    allowedPorts: [{ from: 1, to: 65535 }],
  },
  certificates: [
    checkCertificate({
      certPem: readFileSync(site.certPath, "utf8"),
      keyPem: readFileSync(site.keyPath, "utf8"),
      baseDomains: [BASE_DOMAIN],
      now: new Date(),
    }),
  ],
  limits: { connections: 9_900, connectionsPerApp: MANY, connectionsPerSource: MANY },
  onConnection: ({ outcome, durationMs }: ConnectionReport) =>
    durations.observe({ outcome }, durationMs / 1000),
};

if (busy !== undefined) {
  setInterval(() => {
    for (const until = performance.now() + BUSY_MS; performance.now() < until;);
  }, BUSY_EVERY_MS);
}
// As many threads as its peers have.
if (engine === "native") await createNativeDataPlane({ ...options, threads: Number(threads) });
if (engine === "js") await createJsDataPlane(options);
