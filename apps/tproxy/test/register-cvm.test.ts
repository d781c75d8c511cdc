import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { generateKeyPair, publicKeyOf } from "@dstack/wireguard-tools-wrapper";
import type { WireGuardPrivateKey } from "@dstack/wireguard-tools-wrapper";
import { describe, expect, it } from "vitest";
import type { Tproxy } from "../src/index.js";
import { MemoryWireGuard } from "./memory-wireguard.js";
import { getText } from "./http.js";
import { BASE, idOf, makeSite, register, start, systemReady } from "./site.js";

const newKey = (): string => generateKeyPair().publicKey;

async function ownKey(dir: string): Promise<string> {
  return publicKeyOf((await readFile(join(dir, "wg.key"), "utf8")).trim() as WireGuardPrivateKey);
}

describe("RegisterCvm", () => {
  it("answers with the guest's address, the server and the domain, and adds the peer", async () => {
    await using site = await makeSite();
    const wireguard = new MemoryWireGuard();
    await using server = await start(site, { wireguard });
    const key = newKey();
    const answer = await register(server, {}, key);
    expect(answer.wg).toMatchObject({
      serverPublicKey: await ownKey(site.dir),
      clientIp: "10.77.0.2",
      serverIp: "10.77.0.1",
      serverEndpoint: "10.0.2.2:51820",
    });
    expect(answer.tappd).toMatchObject({ externalPort: server.proxyPort, internalPort: 8090, domain: BASE });
    expect(answer.servers).toEqual([]);
    expect(wireguard.configs.at(-1)).toContain(`PublicKey = ${key}\nAllowedIPs = 10.77.0.2/32\n`);
  });

  it("names every server to a guest that asks for version 2", async () => {
    await using site = await makeSite();
    await using server = await start(site);
    const { servers } = await register(server, {}, newKey(), 2);
    expect(servers).toMatchObject([
      { publicKey: await ownKey(site.dir), ip: "10.77.0.1", endpoint: "10.0.2.2:51820" },
    ]);
  });

  it.each([
    ["proxyProtocolPorts", /proxy_protocol_ports/, 18],
    ["publicPorts", /public_ports/, 66],
  ] as const)(
    "keeps an instance's %s over restarts, until it registers without",
    async (field, name, most) => {
      await using site = await makeSite();
      const ports = (server: Tproxy) => server.registry.list().map((instance) => instance[field]);
      const key = newKey();
      {
        await using server = await start(site);
        await register(server, {}, key, 2, { [field]: [443, 8443] });
        expect(ports(server)).toEqual([[443, 8443]]);
      }
      await using server = await start(site);
      expect(ports(server)).toEqual([[443, 8443]]);
      for (const wrong of [[0], [65_536], Array.from({ length: most + 1 }, (_, n) => n + 1)]) {
        await expect(register(server, {}, key, 2, { [field]: wrong })).rejects.toThrow(name);
      }
      await register(server, {}, key);
      expect(ports(server)).toEqual([undefined]);
    },
  );

  it("G5: lets each guest use its own address and no other", async () => {
    await using site = await makeSite();
    const wireguard = new MemoryWireGuard();
    await using server = await start(site, { wireguard });
    for (const instance of ["a", "b", "c"]) await register(server, { instance }, newKey());
    const allowed = [...(wireguard.configs.at(-1) ?? "").matchAll(/AllowedIPs = (.*)/g)].map(
      (match) => match[1],
    );
    expect(allowed).toEqual(["10.77.0.2/32", "10.77.0.3/32", "10.77.0.4/32"]);
    expect(wireguard.addresses).toEqual(["10.77.0.1/32"]);
    expect(wireguard.routes).toEqual(["10.77.0.0/24"]);
  });

  it("keeps an instance's address over new keys and restarts, and frees no one else's", async () => {
    await using site = await makeSite();
    const firstKey = newKey();
    {
      await using server = await start(site);
      expect((await register(server, { instance: "a" }, firstKey)).wg?.clientIp).toBe("10.77.0.2");
      expect((await register(server, { instance: "b" }, newKey())).wg?.clientIp).toBe("10.77.0.3");
      for (let n = 0; n < 5; n++) {
        expect((await register(server, { instance: "a" }, newKey())).wg?.clientIp).toBe("10.77.0.2");
      }
    }
    const wireguard = new MemoryWireGuard();
    await using server = await start(site, { wireguard });
    expect(wireguard.configs[0]?.match(/\[Peer\]/g)).toHaveLength(2);
    expect(wireguard.configs[0]).not.toContain(firstKey);
    expect((await register(server, { instance: "c" }, newKey())).wg?.clientIp).toBe("10.77.0.4");
    expect((await register(server, { instance: "a" }, newKey())).wg?.clientIp).toBe("10.77.0.2");
  });

  it("K1: refuses a caller without a certificate before it reads the request", async () => {
    await using site = await makeSite();
    await using server = await start(site);
    const path = "/prpc/Tproxy.RegisterCvm?json";
    const answer = await getText(server.url, path, { method: "POST", body: "{ not even JSON" });
    expect(answer.status).toBe(401);
    expect(JSON.parse(answer.text)).toMatchObject({ error: expect.stringContaining("client certificate") });
  });

  it("E5: refuses evidence made after system-ready: a container could have obtained it", async () => {
    await using site = await makeSite();
    const wireguard = new MemoryWireGuard();
    await using server = await start(site, { wireguard });
    const refused = register(server, { more: [systemReady] }, newKey());
    await expect(refused).rejects.toMatchObject({
      status: 403,
      message: expect.stringContaining("system-ready"),
    });
    expect(wireguard.configs.at(-1)).not.toContain("[Peer]");
  });

  it("E12: refuses a WireGuard key that is another instance's or our own", async () => {
    await using site = await makeSite();
    const wireguard = new MemoryWireGuard();
    await using server = await start(site, { wireguard });
    const key = newKey();
    await register(server, { instance: "a" }, key);
    const taken = { status: 403, message: "this WireGuard public key belongs to another instance" };
    await expect(register(server, { instance: "b" }, key)).rejects.toMatchObject(taken);
    await expect(register(server, { app: "x", instance: "b" }, key)).rejects.toMatchObject(taken);
    await expect(register(server, { instance: "b" }, await ownKey(site.dir))).rejects.toMatchObject(taken);
    expect(wireguard.configs.at(-1)?.match(/\[Peer\]/g)).toHaveLength(1);
    // Its owner may say it again; a key it no longer uses is free.
    expect((await register(server, { instance: "a" }, key)).wg?.clientIp).toBe("10.77.0.2");
    await register(server, { instance: "a" }, newKey());
    await register(server, { instance: "b" }, key);
  });

  it("E12: refuses an instance id that is registered for another app", async () => {
    await using site = await makeSite();
    await using server = await start(site);
    await register(server, { app: "victim", instance: "a" }, newKey());
    await expect(register(server, { app: "thief", instance: "a" }, newKey())).rejects.toMatchObject({
      status: 403,
      message: "this instance id is registered for another app",
    });
  });

  it.each(["", "AAAA", `${"A".repeat(42)}E=\nAllowedIPs = 0.0.0.0/0`, Buffer.alloc(32).toString("base64")])(
    "E12: refuses %j as a WireGuard key",
    async (bad) => {
      await using site = await makeSite();
      await using server = await start(site);
      await expect(register(server, {}, bad)).rejects.toMatchObject({
        status: 400,
        message: expect.stringContaining("WireGuard public key"),
      });
    },
  );

  it("says so when no address is free, and loses none over refusals", async () => {
    await using site = await makeSite({ wg: { client_ip_range: "10.77.0.0/30" } }); // one address beside ours
    await using server = await start(site);
    const key = newKey();
    await register(server, { instance: "a" }, key);
    await expect(register(server, { instance: "b" }, newKey())).rejects.toMatchObject({ status: 503 });
    await expect(register(server, { instance: "b" }, key)).rejects.toMatchObject({ status: 403 });
    expect((await register(server, { instance: "a" }, newKey())).wg?.clientIp).toBe("10.77.0.2");
  });

  it("acknowledges nothing that WireGuard did not take, and makes up for it later", async () => {
    await using site = await makeSite();
    const wireguard = new MemoryWireGuard();
    await using server = await start(site, { wireguard });
    const key = newKey();
    wireguard.failWith(new Error("no such device"));
    const failed = await register(server, {}, key).catch((err: unknown) => err);
    expect(failed).toMatchObject({ status: 500, message: expect.not.stringContaining("device") });
    const health = async (): Promise<number> => (await getText(server.url, "/healthz")).status;
    await expect.poll(health).toBe(503);
    wireguard.failWith();
    await expect.poll(() => wireguard.configs.at(-1)).toContain(key);
    await expect.poll(health).toBe(200);
  });

  it("tells an interface that was made anew where its peers were last heard", async () => {
    await using site = await makeSite();
    const [a, b] = [newKey(), newKey()];
    {
      const wireguard = new MemoryWireGuard();
      await using server = await start(site, { wireguard });
      await register(server, { instance: "a" }, a);
      await register(server, { instance: "b" }, b);
      wireguard.setEndpoint(a, "192.0.2.7:40000");
      const remembered = () => readFile(join(site.dir, "state", "endpoints.json"), "utf8").catch(() => "");
      await expect.poll(remembered).toContain("192.0.2.7:40000");
      // What WireGuard learns itself is never overruled.
      expect(wireguard.configs.join("")).not.toContain("Endpoint");
    }
    const wireguard = new MemoryWireGuard();
    await using _server = await start(site, { wireguard });
    expect(wireguard.configs.at(-1)).toContain("AllowedIPs = 10.77.0.2/32\nEndpoint = 192.0.2.7:40000\n");
    expect(wireguard.configs.at(-1)).toContain(`${b}\nAllowedIPs = 10.77.0.3/32\n`);
  });

  it("lets many instances register at once", async () => {
    await using site = await makeSite();
    const wireguard = new MemoryWireGuard();
    await using server = await start(site, { wireguard });
    const answers = await Promise.all(
      Array.from({ length: 12 }, (_, n) => register(server, { instance: `i${n}` }, newKey())),
    );
    expect(new Set(answers.map((answer) => answer.wg?.clientIp)).size).toBe(12);
    expect(wireguard.configs.at(-1)?.match(/\[Peer\]/g)).toHaveLength(12);
  });
});

describe("state", () => {
  it("refuses a second tproxy on one state directory", async () => {
    await using site = await makeSite();
    await using _server = await start(site);
    await expect(start(site)).rejects.toThrow(/another tproxy is running/);
  });

  it("names a record it cannot read, and skips none: its address may be in use", async () => {
    await using site = await makeSite();
    {
      await using server = await start(site);
      await register(server, { instance: "a" }, newKey());
    }
    const path = join(site.dir, "state", "store.jsonl");
    const text = await readFile(path, "utf8");
    await writeFile(path, text.replace('\\"registered_at\\":', '\\"registered\\":'));
    await expect(start(site)).rejects.toThrow(`record instances/${idOf("a")} of the store`);
  });

  it("gives a new address to an instance whose old one no node has any more", async () => {
    await using site = await makeSite();
    {
      await using server = await start(site);
      await register(server, { instance: "a" }, newKey());
    }
    await using moved = await makeSite({ wg: { ip: "10.78.0.1", client_ip_range: "10.78.0.0/24" } });
    const config = { ...moved.config, state_dir: site.config.state_dir };
    await using server = await start({ ...moved, config });
    expect((await register(server, { instance: "a" }, newKey())).wg?.clientIp).toBe("10.78.0.2");
  });

  it("makes its WireGuard key once, for its owner only", async () => {
    await using site = await makeSite();
    for (let n = 0; n < 2; n++) await (await start(site))[Symbol.asyncDispose]();
    const key = await readFile(join(site.dir, "wg.key"), "utf8");
    await (await start(site))[Symbol.asyncDispose]();
    expect(await readFile(join(site.dir, "wg.key"), "utf8")).toBe(key);
    expect((await stat(join(site.dir, "wg.key"))).mode & 0o777).toBe(0o600);
  });

  it("leaves nothing running when it cannot start", async () => {
    await using site = await makeSite();
    await writeFile(join(site.dir, "wildcard.pem"), "nothing");
    const wireguard = new MemoryWireGuard();
    await expect(start(site, { wireguard })).rejects.toThrow(/certificate/);
    expect(wireguard.released).toBe(true);
    await expect(start(site)).rejects.toThrow(/certificate/); // and not: another tproxy is running
  });
});
