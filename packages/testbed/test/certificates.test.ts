import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { readFile, writeFile } from "node:fs/promises";
import { Agent, request } from "node:https";
import { createServer } from "node:http";
import { connect } from "node:net";
import type { AddressInfo, Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { setTimeout as delay } from "node:timers/promises";
import { hex, sha256 } from "@dstack/core";
import { CertificateAuthority, generateP256, pemToDer, splitPem } from "@dstack/ra-tls";
import { startSimulatedPcs } from "@dstack/tdx-attest";
import type { Tproxy } from "@dstack/tproxy";
import { TproxyConfig } from "@dstack/tproxy";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { execa } from "execa";
import { describe, expect, it } from "vitest";
import { CloudflareWorld } from "../../../apps/certbot/test/support.js";
import { LogServer } from "../../../apps/ct-monitor/test/log-server.js";
import { ca, idOf, launch, makeSite, platform, register, start } from "../../../apps/tproxy/test/site.js";
import { startTappdSocket } from "../../../apps/tproxy/test/tappd-socket.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));
const BASE = "app.example.test";
const NAME = `${idOf("app")}.${BASE}`;

/** An app that answers at once, and a keeper of what it was dialled with. */
async function startApp() {
  const server = createServer((_request, response) => response.end("hello"));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    dial: () => connect({ port, host: "127.0.0.1", allowHalfOpen: true }),
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** What each connection was made under: once it is closed it tells no more. */
const certificates = new WeakMap<Socket, string>();

/** One request through the proxy. @returns the fingerprint of the certificate it was answered under */
function ask(server: Tproxy, agent: Agent): Promise<string> {
  const where = { host: "127.0.0.1", port: server.proxyPort, servername: NAME, headers: { host: NAME } };
  return new Promise((resolve, reject) => {
    const call = request({ ...where, agent, rejectUnauthorized: false }, (response) => {
      if (response.statusCode !== 200) reject(new Error(`status ${response.statusCode}`));
      const fingerprint = certificates.get(response.socket) ?? "";
      response
        .on("error", reject)
        .on("end", () => resolve(fingerprint))
        .resume();
    });
    call.on("socket", (socket) => {
      if (!socket.connecting) return;
      socket.once("secureConnect", () => {
        certificates.set(socket, (socket as TLSSocket).getPeerX509Certificate()?.fingerprint256 ?? "");
      });
    });
    call.on("error", reject).end();
  });
}

/** Requests without a pause until it is stopped, on new connections and on one that stays. */
function startLoad(server: Tproxy) {
  // A resumed session shows no certificate.
  const kept = new Agent({ keepAlive: true, maxSockets: 1, maxCachedSessions: 0 });
  const fresh = new Agent({ keepAlive: false, maxCachedSessions: 0 });
  const failures: unknown[] = [];
  const seen: string[] = [];
  let stopped = false;
  const worker = async (agent: Agent): Promise<void> => {
    while (!stopped) {
      await ask(server, agent).then(
        (fingerprint) => seen.push(fingerprint),
        (err: unknown) => failures.push(err),
      );
      // Leaves some of the machine to those who renew.
      await delay(2);
    }
  };
  const workers = [worker(kept), worker(fresh), worker(fresh), worker(fresh)];
  return {
    failures,
    seen,
    async stop(): Promise<void> {
      stopped = true;
      await Promise.all(workers);
      kept.destroy();
      fresh.destroy();
    },
  };
}

describe("the life of a certificate", () => {
  it("C1, C3, P6: account, CAA, wildcard, tproxy serving it, renewal under load, a quiet monitor, and a rogue certificate", async () => {
    await using world = await CloudflareWorld.start();
    await using log = await LogServer.start();
    await using app = await startApp();
    await using pcs = await startSimulatedPcs({ platform, host: "127.0.0.1", port: 0 });

    // An account, and CAA that names it.
    const certbot = ["-c", await world.configFile("certbot")];
    const workdir = join(world.dir, "certbot");
    const { stdout } = await world.run(["init", ...certbot]);
    const account = /^pebble: (https:\S+)$/m.exec(stdout)?.[1] ?? "none";
    expect(world.caa().toSorted()).toEqual([
      `0 issue "pebble.test;validationmethods=dns-01;accounturi=${account}"`,
      `0 issuewild "pebble.test;validationmethods=dns-01;accounturi=${account}"`,
    ]);

    // A wildcard certificate, and the CA logs it: precertificate and certificate.
    const logLive = async (): Promise<X509Certificate> => {
      const leaf = new X509Certificate(await readFile(join(workdir, "live/cert.pem"), "utf8"));
      log.add(leaf.raw, "precert");
      log.add(leaf.raw);
      return leaf;
    };
    expect((await world.run(["renew", "--once", ...certbot])).exitCode).toBe(0);
    const first = await logLive();
    expect(first.subjectAltName).toBe(`DNS:*.${BASE}`);

    // tproxy in a guest serves it, and proves its key.
    await using site = await makeSite({
      proxy: {
        base_domain: BASE,
        cert_chain: join(workdir, "live/cert.pem"),
        cert_key: join(workdir, "live/key.pem"),
      },
    });
    await using tappd = await startTappdSocket(join(site.dir, "tappd.sock"), { app: "tproxy" });
    const config = TproxyConfig.parse({
      ...site.input,
      tappd_socket: tappd.path,
      acme_account_file: join(workdir, "acme-account.json"),
    });
    await using server = await start({ ...site, config }, { dial: app.dial });
    await register(server, {}, generateKeyPair().publicKey);

    // The monitor verifies that proof, and has nothing to say.
    const program = join(world.dir, "ct_monitor.mjs");
    await execa("node", ["scripts/bundle.mjs", "apps/ct-monitor/src/main.ts", program], { cwd: root });
    await writeFile(join(site.dir, "kms-root.pem"), ca.certPem);
    await writeFile(
      join(site.dir, "ct-monitor.toml"),
      `grace_secs = 0
       tproxy_ca = "kms-root.pem"
       tproxy_compose_hashes = ["${hex(sha256("tproxy"))}"]
       [crt_sh]
       enabled = false
       [[log]]
       url = "${log.url}"
       public_key = "${log.publicKey}"
       start = "beginning"
       [attestation]
       pccs_url = "${pcs.url}"
       insecure_simulated_roots = ["root.pem"]
       [[attestation.images.allowed]]
       name = "tests"
       mrtd = "${launch.mrtd}"
       rtmr0 = "${launch.rtmr0}"
       rtmr1 = "${launch.rtmr1}"
       rtmr2 = "${launch.rtmr2}"`,
    );
    const monitor = () =>
      execa("node", [program, "-t", `${server.url}/prpc`, "-d", BASE, "--once"], {
        cwd: site.dir,
        reject: false,
      });
    expect(await monitor()).toMatchObject({ exitCode: 0, stdout: `nothing to report for ${BASE}` });

    // A forced renewal, while requests come without a pause: none fails, and the new certificate is picked up.
    const load = startLoad(server);
    await expect.poll(() => load.seen.length).toBeGreaterThan(10);
    expect((await world.run(["renew", "--once", "--force", ...certbot])).exitCode).toBe(0);
    const second = await logLive();
    await expect.poll(() => load.seen.includes(second.fingerprint256)).toBe(true);
    const until = load.seen.length + 20;
    await expect.poll(() => load.seen.length).toBeGreaterThan(until);
    await load.stop();
    expect(load.failures).toEqual([]);
    expect(new Set(load.seen)).toEqual(new Set([first.fingerprint256, second.fingerprint256]));
    expect(await monitor()).toMatchObject({ exitCode: 0 });

    // Somebody else's certificate for the domain: an alert, and the watch goes on.
    const publicCa = await CertificateAuthority.create({ commonName: "a careless CA" });
    const rogue = async (): Promise<Uint8Array> => {
      const issued = await publicCa.issue({
        publicKey: generateP256().publicKey,
        commonName: "x",
        altNames: [NAME],
        usages: ["serverAuth"],
        notAfter: new Date(Date.now() + 86_400_000),
      });
      return pemToDer(splitPem(issued)[0] ?? "");
    };
    log.add(await rogue(), "precert");
    const alarmed = await monitor();
    expect(alarmed).toMatchObject({ exitCode: 1 });
    expect(alarmed.stdout).toMatch(
      /^ALERT [0-9a-f]{16} unknown_key: certificate has issued to unknown pubkey$/m,
    );
    expect(alarmed.stdout).toContain("issuer: a careless CA");
    await logLive();
    log.add(await rogue(), "precert");
    const again = await monitor();
    expect(again.exitCode).toBe(1);
    expect(again.stdout.match(/^ALERT /gm)).toHaveLength(2);
  });
});
