import { randomBytes } from "node:crypto";
import { mkdtemp, writeFile } from "node:fs/promises";
import { Resolver } from "node:dns/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TsigKey } from "../../src/dns/tsig.js";
import { freePort } from "../../../core/test/support/ports.js";
import { type RunningProgram, startProgram } from "./processes.js";

export interface Knot extends RunningProgram {
  port: number;
  /** `ip:port` */
  address: string;
  key: TsigKey;
}

/**
 * Debian's Knot as authoritative server of the zone, in which the challenges of `delegated` and `loop` are aliases, with
 * dynamic update for one TSIG key.
 */
export async function startKnot(zone = "example.test"): Promise<Knot> {
  const dir = await mkdtemp(join(tmpdir(), "knot-"));
  const port = await freePort();
  const key: TsigKey = { name: "certbot", algorithm: "hmac-sha256", secret: randomBytes(32) };
  await writeFile(
    join(dir, `${zone}.zone`),
    `$ORIGIN ${zone}.
$TTL 60
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 127.0.0.1
_acme-challenge.delegated CNAME delegated.challenges
_acme-challenge.loop CNAME loop.challenges
loop.challenges CNAME _acme-challenge.loop
`,
  );
  await writeFile(
    join(dir, "knot.conf"),
    `server:
  rundir: ${dir}
  listen: 127.0.0.1@${port}
key:
  - id: ${key.name}
    algorithm: ${key.algorithm}
    secret: ${key.secret.toString("base64")}
database:
  storage: ${dir}
acl:
  - id: certbot
    key: ${key.name}
    action: [update, query]
template:
  - id: default
    storage: ${dir}
    zonefile-sync: -1
    journal-content: changes
zone:
  - domain: ${zone}
    acl: certbot
log:
  - target: stderr
    any: warning
`,
  );
  const resolver = new Resolver({ timeout: 500, tries: 1 });
  resolver.setServers([`127.0.0.1:${port}`]);
  const program = await startProgram("knotd", ["-c", join(dir, "knot.conf")], {
    dir,
    ready: async () => (await resolver.resolveSoa(zone)).serial > 0,
  });
  return { ...program, port, address: `127.0.0.1:${port}`, key };
}
