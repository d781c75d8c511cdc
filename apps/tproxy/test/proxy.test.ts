import { once } from "node:events";
import { copyFile, readFile, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { connect } from "node:net";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { X509Certificate } from "node:crypto";
import { connect as connectTls } from "node:tls";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { describe, expect, it } from "vitest";
import type { Tproxy } from "../src/index.js";
import { getText } from "./http.js";
import { MemoryWireGuard } from "./memory-wireguard.js";
import { BASE, ca, idOf, makeSite, register, rpcClient, start, writePair } from "./site.js";

const newKey = (): string => generateKeyPair().publicKey;

/** An HTTP app that tells which address and port it was reached at. */
async function startApp() {
  const server = createServer((request, response) => response.end(`hello ${request.url}`));
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const dialled: string[] = [];
  const { port } = server.address() as AddressInfo;
  return {
    dialled,
    dial: (address: { host: string; port: number }) => {
      dialled.push(`${address.host}:${address.port}`);
      return connect({ port, host: "127.0.0.1", allowHalfOpen: true });
    },
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

const fetchApp = (server: Tproxy, servername: string, path = "/") =>
  getText(`https://127.0.0.1:${server.proxyPort}`, path, { servername, headers: { host: servername } });

/** The native engine takes routes and certificates a moment after it was told. */
const PATIENCE = { timeout: 60_000, interval: 50 };

async function leafOf(server: Tproxy): Promise<string> {
  for (const began = performance.now(); ;) {
    try {
      return await leafNow(server);
    } catch (err) {
      const isUnknown = err instanceof Error && /unrecognized name/.test(err.message);
      if (!isUnknown || performance.now() - began > PATIENCE.timeout) throw err;
      await wait(PATIENCE.interval);
    }
  }
}

function leafNow(server: Tproxy): Promise<string> {
  return new Promise((resolve, reject) => {
    const servername = `${idOf("app")}.${BASE}`;
    const socket = connectTls(
      { port: server.proxyPort, host: "127.0.0.1", servername, ca: ca.certPem },
      () => {
        resolve(socket.getPeerX509Certificate()?.fingerprint256 ?? "");
        socket.destroy();
      },
    );
    socket.once("error", reject);
  });
}

describe("an app behind tproxy", () => {
  it("is let finish its answer when tproxy is told to stop, and nobody new comes in", async () => {
    let finish = (): void => {};
    const slow = createServer((_request, response) => {
      response.write("first half, ");
      finish = () => void response.end("second half");
    });
    slow.listen(0, "127.0.0.1");
    await once(slow, "listening");
    const { port } = slow.address() as AddressInfo;
    await using site = await makeSite({ proxy: { drain_secs: 60 } });
    const server = await start(site, {
      dial: () => connect({ port, host: "127.0.0.1", allowHalfOpen: true }),
    });
    expect(server.finishMs).toBe(60_000);
    await register(server, {}, newKey());
    const requested = once(slow, "request");
    const fetched = fetchApp(server, `${idOf("app")}.${BASE}`);
    await requested;
    const stopped = server[Symbol.asyncDispose]();
    const refused = () => leafOf(server).catch((err: { code?: string }) => err.code);
    await expect.poll(refused).toBe("ECONNREFUSED");
    finish();
    expect(await fetched).toMatchObject({ text: "first half, second half" });
    await stopped;
    slow.close();
  });

  it("is reached by app id, instance id and port once it is registered", async () => {
    await using app = await startApp();
    await using site = await makeSite();
    await using server = await start(site, { dial: app.dial });
    const name = `${idOf("app")}-8080.${BASE}`;
    await expect(fetchApp(server, name)).rejects.toThrow(/unrecognized name/);
    await register(server, { instance: "a" }, newKey());
    expect(await fetchApp(server, name, "/x")).toMatchObject({ status: 200, text: "hello /x" });
    await fetchApp(server, `${idOf("app")}.${BASE}`);
    await fetchApp(server, `${idOf("a")}-90.${BASE}`);
    expect(app.dialled).toEqual(["10.77.0.2:8080", "10.77.0.2:80", "10.77.0.2:90"]);
  });

  it("P5: is reached at its freshest instance, as the handshakes say from one poll to the next", async () => {
    await using app = await startApp();
    await using site = await makeSite();
    const wireguard = new MemoryWireGuard();
    await using server = await start(site, { dial: app.dial, wireguard });
    const [a, b] = [newKey(), newKey()];
    await register(server, { instance: "a" }, a);
    await register(server, { instance: "b" }, b);
    const now = Math.floor(Date.now() / 1000);
    for (const [fresh, stale, host] of [
      [a, b, "10.77.0.2"],
      [b, a, "10.77.0.3"],
    ] as const) {
      wireguard.setHandshake(fresh, now);
      wireguard.setHandshake(stale, now - 1000);
      const dialledNow = async (): Promise<string | undefined> => {
        await fetchApp(server, `${idOf("app")}.${BASE}`);
        return app.dialled.at(-1);
      };
      await expect.poll(dialledNow).toBe(`${host}:80`);
    }
  });

  it("P3: is reached at allowed ports only", async () => {
    await using app = await startApp();
    await using site = await makeSite({ proxy: { allowed_ports: ["80", "8000-8999"] } });
    await using server = await start(site, { dial: app.dial });
    await register(server, {}, newKey());
    for (const port of [80, 8000, 8999]) await fetchApp(server, `${idOf("app")}-${port}.${BASE}`);
    for (const port of [22, 81, 9000]) {
      await expect(fetchApp(server, `${idOf("app")}-${port}.${BASE}`)).rejects.toThrow(/unrecognized name/);
    }
    expect(app.dialled.length).toBe(3);
  });

  it("P3: is not reached by SSH unless it is allowed", async () => {
    await using app = await startApp();
    await using site = await makeSite();
    await using server = await start(site, { dial: app.dial });
    await register(server, {}, newKey());
    for (const port of [21, 23]) await fetchApp(server, `${idOf("app")}-${port}.${BASE}`);
    await expect(fetchApp(server, `${idOf("app")}-22.${BASE}`)).rejects.toThrow(/unrecognized name/);
    expect(app.dialled.length).toBe(2);
  });

  it("is reached by a custom domain whose TXT record names it, on the port that never terminates too", async () => {
    await using site = await makeSite({ proxy: { listen_port_passthrough: 0 } });
    const dialled: unknown[] = [];
    await using server = await start(site, {
      dial: (address) => {
        dialled.push(address);
        return connect({ port: server.port, host: "127.0.0.1", allowHalfOpen: true }); // something that speaks TLS
      },
      resolveTxt: async (name) =>
        name === "_tapp-address.shop.example.com" ? [[`${idOf("app")}:8443`]] : [],
    });
    await register(server, {}, newKey());
    for (const port of [server.proxyPort, server.passthroughPort]) {
      const answer = await getText(`https://127.0.0.1:${port}`, "/healthz", {
        servername: "shop.example.com",
        checkServerIdentity: () => undefined,
      });
      expect(answer.status).toBe(200);
    }
    expect(dialled).toEqual(Array(2).fill({ host: "10.77.0.2", port: 8443 }));
  });
});

describe("the proxy's certificate", () => {
  it("P6: is replaced while running, and the key of every one is told by AcmeInfo, after a restart too", async () => {
    await using site = await makeSite();
    const spki = (pem: string) => new X509Certificate(pem).publicKey.export({ format: "der", type: "spki" });
    const first = await readPem(site.dir);
    await writePair(site.dir, "next", `*.${BASE}`);
    {
      await using server = await start(site);
      await register(server, {}, newKey());
      const before = await leafOf(server);
      await copyFile(join(site.dir, "next.pem"), join(site.dir, "wildcard.pem"));
      expect(await server.reload()).toMatch(/key/); // which is still the old one
      expect(await leafOf(server)).toBe(before);
      await copyFile(join(site.dir, "next.key"), join(site.dir, "wildcard.key"));
      expect(await server.reload()).toBeUndefined();
      await expect.poll(() => leafOf(server), PATIENCE).not.toBe(before);
    }
    await using server = await start(site);
    await using client = rpcClient(server.url);
    const { histKeys, accountUri } = await client.acmeInfo({});
    expect(histKeys.map((key) => Buffer.from(key))).toEqual([spki(first), spki(await readPem(site.dir))]);
    expect(accountUri).toBe("");
  });

  it("P6: stays when the new one is another name's, unreadable or missing, and the metric says so", async () => {
    await using site = await makeSite();
    await using server = await start(site);
    await register(server, {}, newKey());
    const before = await leafOf(server);
    await writePair(site.dir, "wildcard", "*.other.example.org");
    await server.reload();
    await writeFile(join(site.dir, "wildcard.pem"), "-----BEGIN");
    await server.reload();
    await server.reload(); // said once
    expect(await leafOf(server)).toBe(before);
    const { text } = await getText(server.url, "/metrics");
    expect(text).toMatch(/^tproxy_certificate_refused_total 2$/m);
    await using client = rpcClient(server.url);
    expect((await client.acmeInfo({})).histKeys).toHaveLength(1);
  });

  it("is looked at without being told to", async () => {
    await using site = await makeSite();
    await using server = await start(site);
    await register(server, {}, newKey());
    const before = await leafOf(server);
    await writePair(site.dir, "wildcard", `*.${BASE}`);
    await expect.poll(() => leafOf(server)).not.toBe(before);
  });
});

async function readPem(dir: string): Promise<string> {
  return readFile(join(dir, "wildcard.pem"), "utf8");
}

describe("what tproxy tells", () => {
  it("List: every instance with its address, handshake and connections", async () => {
    await using app = await startApp();
    await using site = await makeSite();
    const wireguard = new MemoryWireGuard();
    await using server = await start(site, { wireguard, dial: app.dial });
    const [a, b] = [newKey(), newKey()];
    wireguard.setHandshake(a, 1_763_800_000);
    wireguard.setHandshake(b, 0);
    await register(server, { instance: "a" }, a);
    await register(server, { app: "other", instance: "b" }, b);
    const open = connectTls({
      port: server.proxyPort,
      host: "127.0.0.1",
      servername: `${idOf("app")}.${BASE}`,
      ca: ca.certPem,
    });
    await once(open, "secureConnect");
    await using client = rpcClient(server.url);
    const hostA = async () => (await client.list({})).hosts.find((host) => host.id === idOf("a"));
    await expect.poll(async () => (await hostA())?.latestHandshake).toBe(1_763_800_000n);
    await expect.poll(async () => (await hostA())?.numConnections).toBe(1);
    open.destroy();
    expect(await hostA()).toMatchObject({
      ip: "10.77.0.2",
      appId: idOf("app"),
      baseDomain: BASE,
      port: server.proxyPort,
    });
    const { hosts } = await client.list({});
    expect(hosts).toHaveLength(2);
    expect(hosts.find((host) => host.id === idOf("b"))).toMatchObject({
      appId: idOf("other"),
      latestHandshake: 0n,
    });
    const json = await getText(server.url, "/prpc/Tproxy.List?json");
    expect(JSON.parse(json.text)).toMatchObject({ hosts: [{ base_domain: BASE }, { base_domain: BASE }] });
  });

  it("AcmeInfo: the account that the state directory names", async () => {
    await using site = await makeSite();
    await using server = await start(site);
    const accountUri = "https://acme.example.org/acct/1";
    await writeFile(
      join(site.dir, "state", "acme-account.json"),
      JSON.stringify({ account_uri: accountUri, more: 1 }),
    );
    await using client = rpcClient(server.url);
    expect(await client.acmeInfo({})).toMatchObject({ accountUri });
  });

  it("E10: says in metrics and on its page that simulated platforms are trusted", async () => {
    await using site = await makeSite();
    await using server = await start(site);
    await register(server, {}, newKey());
    const { text } = await getText(server.url, "/metrics");
    expect(text).toMatch(/^tproxy_insecure_simulated_roots 1$/m);
    expect(text).toMatch(/^tproxy_registrations_total\{anchor="simulated"\} 1$/m);
    expect(text).toMatch(/^tproxy_instances 1$/m);
    const page = await getText(server.url, "/");
    expect(page.text).toContain("INSECURE: simulated platforms are trusted");
    expect(page.text).toContain(idOf("app"));
    expect(page.headers["content-security-policy"]).toContain("default-src 'none'");
    expect(page.text).not.toContain("<script");
  });
});
