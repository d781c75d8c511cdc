import { spawn } from "node:child_process";
import { once } from "node:events";
import { lstat, readFile, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { connect } from "node:tls";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { createClient, unixTransport } from "@dstack/prpc";
import { tproxyAdmin } from "@dstack/proto";
import { describe, expect, it } from "vitest";
import { TproxyConfig } from "../src/index.js";
import type { Tproxy } from "../src/index.js";
import { TOKEN, adminClient, adminSite, adminUrl } from "./admin-site.js";
import { startApp } from "./app.js";
import { getText } from "./http.js";
import { BASE, idOf, makeSite, register, start } from "./site.js";
import type { Site } from "./site.js";

const client = adminClient;

/** A tproxy in a process of its own. */
async function startProcess(
  site: Site,
): Promise<Pick<Tproxy, "url" | "adminPort"> & { kill(): Promise<void> }> {
  const [script, file] = [
    fileURLToPath(new URL("tproxy-process.ts", import.meta.url)),
    join(site.dir, "config.json"),
  ];
  await writeFile(file, JSON.stringify(site.config));
  const child = spawn(process.execPath, ["--import", import.meta.resolve("tsx"), script, file], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const [line] = (await once(child.stdout.setEncoding("utf8"), "data")) as [string];
  return {
    ...(JSON.parse(line) as Pick<Tproxy, "url" | "adminPort">),
    kill: async () => {
      child.kill("SIGKILL");
      await once(child, "exit");
    },
  };
}

async function audit(site: Site): Promise<Record<string, unknown>[]> {
  const text = await readFile(join(site.dir, "state/audit.log"), "utf8");
  return text
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line.slice(65)) as Record<string, unknown>);
}

describe("P7: the admin listener", () => {
  it("P7: is not there unless it is configured", async () => {
    await using site = await makeSite();
    await using server = await start(site);
    expect(server.adminPort).toBeUndefined();
  });

  it("P7: is on loopback unless it is told otherwise", async () => {
    await using site = await adminSite();
    expect(site.config.admin?.host).toBe("127.0.0.1");
  });

  it("P7: does not start without a token, nor with one that can be guessed", async () => {
    await using site = await makeSite();
    expect(() => TproxyConfig.parse({ ...site.input, admin: { port: 0, tokens: [] } })).toThrow(/one token/);
    expect(() => TproxyConfig.parse({ ...site.input, admin: { port: 0 } })).toThrow(/tokens/);
    const file = join(site.dir, "short.token");
    const admin = { port: 0, tokens: [{ name: "alice", token_file: file }] };
    const config = TproxyConfig.parse({ ...site.input, admin });
    await expect(start({ ...site, config })).rejects.toThrow(/token_file/);
    await writeFile(file, "secret\n");
    await expect(start({ ...site, config })).rejects.toThrow(/fewer than 16 characters/);
  });

  it("P7: answers nobody without the token, not even what it has", async () => {
    await using site = await adminSite();
    await using server = await start(site);
    for (const token of ["", "wrong", `${TOKEN}x`]) {
      await expect(client(server, token).listNodes({})).rejects.toMatchObject({ code: "unauthenticated" });
      await expect(client(server, token).drainNode({})).rejects.toMatchObject({ code: "unauthenticated" });
    }
    for (const path of ["/events", "/openapi.json", "/metrics", "/nothing", "/prpc/TproxyAdmin.Nothing"]) {
      expect([path, (await fetch(`${adminUrl(server)}${path}`)).status]).toEqual([path, 401]);
    }
    // A page's files are no secret, and this is what everybody is told by the other listener.
    expect((await fetch(`${adminUrl(server)}/.dstack/acme-info`)).status).toBe(200);
    await expect(client(server).listNodes({})).resolves.toMatchObject({
      nodes: [{ self: true, alive: true }],
    });
  });

  it("P7: none of its methods is on the listener that guests reach", async () => {
    await using site = await adminSite();
    await using server = await start(site);
    expect((await getText(server.url, "/prpc/TproxyAdmin.ListNodes")).status).toBe(404);
  });

  it("P7: serves a unix socket that only its owner may use", async () => {
    const socket = join(tmpdir(), `tproxy-admin-${process.pid}.sock`);
    await using site = await adminSite({ socket });
    await using _server = await start(site);
    expect((await lstat(socket)).mode & 0o777).toBe(0o600);
    const headers = { authorization: `Bearer ${TOKEN}` };
    const admin = createClient(tproxyAdmin.TproxyAdmin, unixTransport(socket, { headers }));
    await expect(admin.listInstances({})).resolves.toMatchObject({ instances: [] });
  });

  it("P7: every change is in the audit log, who asked for it and what came of it", async () => {
    await using site = await adminSite();
    await using server = await start(site);
    await register(server, {}, generateKeyPair().publicKey);
    const admin = client(server);
    await admin.drainInstance({ id: idOf("instance") });
    await expect(admin.resumeInstance({ id: idOf("nobody") })).rejects.toMatchObject({ code: "not_found" });
    await expect(admin.removeInstance({ id: "x" })).rejects.toMatchObject({ code: "bad_request" });
    await admin.listConnections({});
    expect(await audit(site)).toMatchObject([
      { who: "alice", from: "127.0.0.1", method: "DrainInstance", about: idOf("instance"), outcome: "asked" },
      { method: "DrainInstance", outcome: "done" },
      { method: "ResumeInstance", outcome: "asked" },
      { method: "ResumeInstance", about: idOf("nobody"), outcome: "refused" },
      { method: "RemoveInstance", outcome: "asked" },
      { method: "RemoveInstance", outcome: "refused" },
    ]);
  });

  it("P7: a tproxy whose audit log was changed does not start", async () => {
    await using site = await adminSite();
    {
      await using server = await start(site);
      await client(server).drainNode({});
    }
    const path = join(site.dir, "state/audit.log");
    await writeFile(path, (await readFile(path, "utf8")).replace('"alice"', '"mallo"'));
    await expect(start(site)).rejects.toThrow(/entry 0 was changed/);
  });

  it("P7: what cannot be logged is not done", async () => {
    await using site = await adminSite();
    await using server = await start(site);
    await writeFile(join(site.dir, "state/audit.log"), "somebody else's line\n");
    await expect(client(server).drainNode({})).rejects.toMatchObject({ code: "unavailable" });
    await expect(client(server).listNodes({})).resolves.toMatchObject({ nodes: [{ draining: false }] });
  });
});

describe("what operators change", () => {
  it("P7: outlives kill -9, and so does the log of it", async () => {
    await using site = await adminSite();
    const killed = await startProcess(site);
    try {
      for (const instance of ["one", "two"]) {
        await register(killed, { instance }, generateKeyPair().publicKey);
        await client(killed).drainInstance({ id: idOf(instance) });
      }
      await client(killed).drainNode({});
      await client(killed).resumeInstance({ id: idOf("two") });
    } finally {
      await killed.kill();
    }
    const before = await audit(site);
    expect(before.map(({ method, about, outcome }) => [method, about, outcome])).toEqual(
      [
        ["DrainInstance", idOf("one")],
        ["DrainInstance", idOf("two")],
        ["DrainNode", "tproxy"],
        ["ResumeInstance", idOf("two")],
      ].flatMap((entry) => [
        [...entry, "asked"],
        [...entry, "done"],
      ]),
    );
    await using server = await start(site);
    const admin = client(server);
    const { instances } = await admin.listInstances({});
    expect(Object.fromEntries(instances.map(({ id, draining }) => [id, draining]))).toEqual({
      [idOf("one")]: true,
      [idOf("two")]: false,
    });
    await expect(admin.listNodes({})).resolves.toMatchObject({ nodes: [{ draining: true }] });
    await admin.resumeNode({});
    expect(await audit(site)).toMatchObject([...before, { seq: before.length }, { outcome: "done" }]);
  });

  it("lists an instance that is drained and was recycled, and has it drained when it comes back", async () => {
    await using site = await adminSite();
    await using server = await start(site);
    const admin = client(server);
    await register(server, {}, generateKeyPair().publicKey);
    await admin.drainInstance({ id: idOf("instance") });
    await server.registry.recycle(() => true);
    const gone = { id: idOf("instance"), appId: idOf("app"), ip: "", draining: true };
    await expect(admin.listInstances({})).resolves.toMatchObject({ instances: [gone] });
    await register(server, {}, generateKeyPair().publicKey);
    const back = { id: idOf("instance"), ip: expect.stringMatching(/./), draining: true };
    await expect(admin.listInstances({})).resolves.toMatchObject({ instances: [back] });
    await server.registry.recycle(() => true);
    await admin.removeInstance({ id: idOf("instance") });
    await expect(admin.listInstances({})).resolves.toMatchObject({ instances: [] });
  });

  it("outlives a restart: drained instances, drained nodes", async () => {
    await using site = await adminSite();
    {
      await using server = await start(site);
      await register(server, {}, generateKeyPair().publicKey);
      await client(server).drainInstance({ id: idOf("instance") });
      await client(server).drainNode({});
    }
    await using server = await start(site);
    await expect(client(server).listInstances({})).resolves.toMatchObject({
      instances: [{ id: idOf("instance"), draining: true }],
    });
    await expect(client(server).listNodes({})).resolves.toMatchObject({ nodes: [{ draining: true }] });
    await client(server).resumeInstance({ id: idOf("instance") });
    await client(server).resumeNode({});
    await expect(client(server).listInstances({})).resolves.toMatchObject({
      instances: [{ draining: false }],
    });
  });

  it("removing an instance takes its registration and ends its connections", async () => {
    await using site = await adminSite();
    await using app = await startApp();
    await using server = await start(site, { dial: app.dial });
    await register(server, {}, generateKeyPair().publicKey);
    const servername = `${idOf("instance")}-80.${BASE}`;
    const visitor = connect({
      port: server.proxyPort,
      host: "127.0.0.1",
      servername,
      rejectUnauthorized: false,
    });
    await once(visitor, "data");
    const admin = client(server);
    await expect
      .poll(() => admin.listConnections({}))
      .toMatchObject({
        connections: [{ instanceId: idOf("instance"), state: "relaying", serverName: servername }],
      });
    const ended = once(visitor, "close");
    visitor.resume().on("error", () => {});
    await admin.removeInstance({ id: idOf("instance") });
    await ended;
    expect(await admin.listInstances({})).toMatchObject({ instances: [] });
  });

  it("P6: a certificate that does not fit is refused with the reason, and the old one stays", async () => {
    await using site = await adminSite();
    await using server = await start(site);
    const admin = client(server);
    await expect(admin.reloadCertificate({})).resolves.toMatchObject({ refusal: "" });
    await writeFile(join(site.dir, "wildcard.pem"), "no certificate");
    const { refusal } = await admin.reloadCertificate({});
    expect(refusal).not.toBe("");
  });
});
