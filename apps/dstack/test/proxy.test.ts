import { once } from "node:events";
import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createApp, listenHttp, silentLogger } from "@dstack/daemon";
import { RpcError, implement, mountPrpc } from "@dstack/prpc";
import { tproxyAdmin } from "@dstack/proto";
import { describe, expect, it, vi } from "vitest";
import { Home } from "../src/local/home.js";
import { proxyClient } from "../src/tproxy-admin.js";
import type { Ports } from "../src/local/home.js";
import { dstack } from "./fake-teepod.js";

const ID = "3327603e03f5bd1f830812ca4a789277fc31f577";

/** A tproxy that writes down what it was asked, and by whom. */
async function fakeTproxy() {
  const asked: string[] = [];
  const note =
    (method: string) =>
    async (request: { id?: string; name?: string }): Promise<object> => {
      asked.push(`${method} ${request.id ?? request.name ?? ""}`.trim());
      return {};
    };
  const app = createApp({ log: silentLogger() });
  app.addHook("onRequest", async (request) => {
    if (request.headers.authorization !== "Bearer secret")
      throw new RpcError("unauthenticated", "who are you?");
  });
  const service = implement(tproxyAdmin.TproxyAdmin, {
    listInstances: async () => ({ instances: [{ id: ID, appId: ID, ip: "10.0.3.2", draining: true }] }),
    listNodes: async () => ({ nodes: [{ name: "a", ip: "10.0.3.1", alive: true, self: true }] }),
    listConnections: async () => ({
      connections: [{ source: "192.0.2.7", serverName: "x\u001b[2J.example.org", state: "relaying" }],
    }),
    reloadCertificate: async () => ({ refusal: "it is of yesterday" }),
    drainInstance: note("drainInstance"),
    resumeInstance: note("resumeInstance"),
    removeInstance: note("removeInstance"),
    drainNode: note("drainNode"),
    resumeNode: note("resumeNode"),
    removeNode: note("removeNode"),
    getCertificate: async () => ({}),
    verifyKey: async () => ({}),
    getAuditLog: async () => ({}),
  });
  mountPrpc(app, [service]);
  const listener = await listenHttp({ app, address: { host: "127.0.0.1", port: 0 } });
  const run = (...args: string[]): Promise<string> =>
    dstack("proxy", ...args, "--admin", `http://127.0.0.1:${listener.port}`);
  const { port } = listener;
  return { run, asked, port, [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose]() };
}

describe("dstack proxy", () => {
  it("drains, resumes and removes: an id is an instance, anything else a node", async () => {
    vi.stubEnv("DSTACK_TPROXY_TOKEN", "secret");
    await using tproxy = await fakeTproxy();
    await tproxy.run("drain", ID);
    await tproxy.run("resume", ID);
    await tproxy.run("rm", ID);
    for (const verb of ["drain", "resume", "rm"]) await tproxy.run(verb, "node-2");
    expect(tproxy.asked).toEqual([
      ...["drain", "resume", "remove"].map((verb) => `${verb}Instance ${ID}`),
      ...["drain", "resume", "remove"].map((verb) => `${verb}Node node-2`),
    ]);
  });

  it("lists instances, nodes and connections, and lets nothing through that a terminal would obey", async () => {
    vi.stubEnv("DSTACK_TPROXY_TOKEN", "secret");
    await using tproxy = await fakeTproxy();
    expect(await tproxy.run("ls")).toMatch(new RegExp(`${ID}.*never.*drained`));
    expect(JSON.parse(await tproxy.run("ls", "--json"))).toMatchObject({
      nodes: [{ name: "a", alive: true }],
    });
    expect(await tproxy.run("connections")).toContain("x\\x1b[2J.example.org");
  });

  it("says why a certificate was refused, and who it needs to be", async () => {
    vi.stubEnv("DSTACK_TPROXY_TOKEN", "secret");
    await using tproxy = await fakeTproxy();
    await expect(tproxy.run("reload")).rejects.toThrow(/it is of yesterday/);
    vi.stubEnv("DSTACK_TPROXY_TOKEN", "wrong");
    await expect(tproxy.run("ls")).rejects.toThrow(/who are you/);
    vi.stubEnv("DSTACK_TPROXY_TOKEN", undefined);
    await expect(tproxy.run("ls")).rejects.toThrow(/--token-file/);
    vi.stubEnv("DSTACK_HOME", "/nowhere");
    await expect(dstack("proxy", "ls")).rejects.toThrow(/--admin/);
  });

  it("says what is wrong with an address or a token, and waits for no tproxy for ever", async () => {
    vi.stubEnv("DSTACK_TPROXY_TOKEN", "secret");
    for (const address of ["127.0.0.1:9071", "", "ftp://x", "https://"])
      await expect(dstack("proxy", "ls", "--admin", address)).rejects.toThrow(/--admin must be a URL/);
    await expect(dstack("proxy", "ls", "--admin", "/nowhere.sock")).rejects.toThrow(/is it running/);
    const dir = await mkdtemp(join(tmpdir(), "dstack-token-"));
    const file = join(dir, "token");
    const withFile = () => dstack("proxy", "ls", "--admin", "http://127.0.0.1:1", "--token-file", file);
    await expect(withFile()).rejects.toThrow(/there is no file/);
    for (const text of ["", "two\nlines\n"]) {
      await writeFile(file, text);
      await expect(withFile()).rejects.toThrow(/must hold one token/);
    }
    await rm(dir, { recursive: true });

    const silent = createServer().listen(0, "127.0.0.1");
    await once(silent, "listening");
    const { port } = silent.address() as AddressInfo;
    const client = await proxyClient({ admin: `http://127.0.0.1:${port}` }, 100);
    await expect(client.listNodes({})).rejects.toThrow(/has not answered within 0.1 s/);
    silent.close();
  });

  it("finds the local installation's tproxy and its token by itself", async () => {
    vi.stubEnv("DSTACK_TPROXY_TOKEN", undefined);
    await using tproxy = await fakeTproxy();
    const dir = await mkdtemp(join(tmpdir(), "dstack-home-"));
    const home = await Home.open(dir);
    const names = ["pcs", "kms", "tproxy", "proxy", "wireguard", "registry", "teepod"];
    const others = Object.fromEntries(names.map((name) => [name, 1]));
    await home.update({ ports: { ...others, tproxyAdmin: tproxy.port } as Ports });
    await writeFile(home.path("tproxy.token"), "secret\n", { mode: 0o600 });
    vi.stubEnv("DSTACK_HOME", dir);
    expect(await dstack("proxy", "ls")).toContain(ID);
    vi.stubEnv("DSTACK_TPROXY_TOKEN", "wrong");
    await expect(dstack("proxy", "ls")).rejects.toThrow(/who are you/);
    await rm(dir, { recursive: true });
  });
});
