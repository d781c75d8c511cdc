// What an ingress meets in the world, for a test to start inside its network namespace: Pebble, DNS on port 53, and a
// Cloudflare that feeds it. Tells how to reach them in one line of JSON, and ends with SIGTERM.
import { once } from "node:events";
import { startChallengeDns } from "../../acme/test/support/challtestsrv.js";
import { startCloudflare } from "../../acme/test/support/cloudflare-server.js";
import { startPebble } from "../../acme/test/support/pebble.js";

/** Ports are of the loopback. */
export interface CertificateWorld {
  acmePort: number;
  /** The root that Pebble's own TLS certificate leads to. */
  acmeRoot: string;
  cloudflarePort: number;
  cloudflareToken: string;
}

await using dns = await startChallengeDns(53);
await using pebble = await startPebble(dns.address);
await using cloudflare = await startCloudflare([{ id: "z1", name: "example.localhost" }], (name, rows) =>
  dns.setRecords(name, rows),
);
const world: CertificateWorld = {
  acmePort: pebble.port,
  acmeRoot: pebble.rootPem,
  cloudflarePort: Number(new URL(cloudflare.url).port),
  cloudflareToken: cloudflare.token,
};
console.log(JSON.stringify(world));
await once(process, "SIGTERM");
