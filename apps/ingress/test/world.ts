import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseQuote } from "@dstack/attestation";
import { hex } from "@dstack/core";
import { ResourceStack, silentLogger } from "@dstack/daemon";
import { startSimulatedPcs } from "@dstack/tdx-attest";
import { type Outcome, verify } from "../../dstack/test/verify/site.js";
import { type Guest, bootGuest, platform } from "../../tappd/test/support/tappd-fixture.js";
import { type ChallengeDns, startChallengeDns } from "../../../packages/acme/test/support/challtestsrv.js";
import {
  type CloudflareServer,
  startCloudflare,
} from "../../../packages/acme/test/support/cloudflare-server.js";
import { type Pebble, startPebble } from "../../../packages/acme/test/support/pebble.js";
import { freePort } from "../../../packages/core/test/support/ports.js";
import { openGuestAgent } from "../src/guest-agent.js";
import { type Ingress, readSettings, startIngress } from "../src/index.js";

/** Names under .localhost are this machine, for `dstack verify` too. */
export const SHOP = "shop.example.localhost";

/** Pebble, DNS, Cloudflare and a guest with its tappd: all that an ingress has around it. */
export class World implements AsyncDisposable {
  private constructor(
    readonly dir: string,
    readonly dns: ChallengeDns,
    readonly pebble: Pebble,
    readonly cloudflare: CloudflareServer,
    readonly guest: Guest,
    readonly sockets: { readonly tappd: string; readonly dstack: string },
    private readonly trusting: readonly string[],
    private readonly stack: ResourceStack,
  ) {}

  /** @param zone the one that the API token may change */
  static async start(zone = "example.localhost"): Promise<World> {
    await using stack = new ResourceStack();
    const dir = await mkdtemp(join(tmpdir(), "ingress-"));
    stack.defer(() => rm(dir, { recursive: true, force: true }));
    const dns = stack.use(await startChallengeDns());
    const pebble = stack.use(await startPebble(dns.address));
    const cloudflare = stack.use(
      await startCloudflare([{ id: "z1", name: zone }], (name, rows) => dns.setRecords(name, rows)),
    );
    const guest = stack.use(
      await bootGuest({ compose: { runner: "docker-compose", docker_compose_file: "services: {}" } }),
    );
    const { sockets } = await guest.start();
    const pcs = stack.use(await startSimulatedPcs({ platform }));
    await writeFile(join(dir, "ca.pem"), pebble.rootPem);
    await writeFile(join(dir, "root.pem"), platform.rootCertificatePem);
    await writeFile(join(dir, "app-compose.json"), guest.composeText);
    // The image this guest happens to run on.
    const { mrTd, rtmr } = parseQuote(await guest.provider.getQuote(new Uint8Array(64))).body;
    const [rtmr0, rtmr1, rtmr2] = rtmr.map(hex);
    const allowed = [{ name: "test", mrtd: hex(mrTd), rtmr0: [rtmr0], rtmr1, rtmr2 }];
    await writeFile(join(dir, "policy.json"), JSON.stringify({ images: { allowed } }));
    const trusting = [
      ...["--policy", join(dir, "policy.json")],
      ...["--simulated-root", join(dir, "root.pem"), "--pccs-url", pcs.url],
      ...["--dns", dns.address, "--compose", join(dir, "app-compose.json")],
    ];
    return new World(dir, dns, pebble, cloudflare, guest, sockets, trusting, stack.move());
  }

  /** The environment of an ingress in front of an app on this port. */
  async environment(appPort: number): Promise<Record<string, string>> {
    return {
      CLOUDFLARE_API_TOKEN: this.cloudflare.token,
      CLOUDFLARE_API_URL: this.cloudflare.url,
      DOMAIN: SHOP,
      GATEWAY_DOMAIN: "_.gateway.test",
      CERTBOT_EMAIL: "ops@example.com",
      SET_CAA: "true",
      TARGET_ENDPOINT: `http://127.0.0.1:${appPort}`,
      PORT: String(await freePort()),
      ACME_DIRECTORY_URL: this.pebble.directory,
      ACME_CAA: "pebble.letsencrypt.org",
      ACME_CA_FILE: join(this.dir, "ca.pem"),
      DNS_SERVERS: this.dns.address,
      STATE_DIR: join(this.dir, "state"),
    };
  }

  async ingress(environment: Record<string, string>): Promise<Ingress> {
    return startIngress(readSettings(environment), {
      log: silentLogger(),
      agent: openGuestAgent(this.sockets),
      host: "127.0.0.1",
    });
  }

  /** `dstack verify` of the domain served on a port. */
  verify(port: number, ...args: string[]): Promise<Outcome> {
    return verify(`https://${SHOP}:${port}/`, ...this.trusting, ...args);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stack[Symbol.asyncDispose]();
  }
}
