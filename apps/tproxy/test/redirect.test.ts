import { once } from "node:events";
import { request } from "node:http";
import type { IncomingMessage } from "node:http";
import { connect, createServer } from "node:net";
import { sleep } from "@dstack/core";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { expect, it } from "vitest";
import { listenRedirect } from "../src/redirect.js";
import { BASE, idOf, makeSite, register, start } from "./site.js";

async function get(port: number, host: string, path = "/"): Promise<IncomingMessage> {
  const sent = request({ port, host: "127.0.0.1", path, headers: { host }, agent: false }).end();
  const [response] = (await once(sent, "response")) as [IncomingMessage];
  response.resume();
  return response;
}

it("sends HTTP to HTTPS for names that are routed, and no others", async () => {
  const records: Record<string, string[][]> = {
    "_dstack-app-address.shop.example.com": [[`${idOf("app")}:8443`]],
    "_dstack-app-address.gone.example.com": [[`${"0".repeat(40)}:8443`]],
  };
  await using site = await makeSite({
    proxy: { listen_port_http: 0, allowed_ports: ["80", "8000-9000"], more_base_domains: [] },
  });
  await using server = await start(site, {
    resolveTxt: (name) =>
      records[name] === undefined
        ? Promise.reject(Object.assign(new Error("no such name"), { code: "ENOTFOUND" }))
        : Promise.resolve(records[name]),
  });
  await register(server, {}, generateKeyPair().publicKey);
  const port = server.redirectPort ?? 0;
  const name = `${idOf("app")}-8080.${BASE}`;
  const answer = await get(port, `${name.toUpperCase()}:80`, "/a/b?c=d&e=%0d%0a");
  expect(answer.statusCode).toBe(308);
  expect(answer.headers.location).toBe(`https://${name}:${server.proxyPort}/a/b?c=d&e=%0d%0a`);
  expect((await get(port, `${idOf("app")}.${BASE}`)).statusCode).toBe(308);
  expect((await get(port, "shop.example.com", "//evil.example")).headers.location).toBe(
    `https://shop.example.com:${server.proxyPort}//evil.example`,
  );
  for (const unknown of [
    `${"0".repeat(40)}.${BASE}`,
    `${idOf("app")}-22.${BASE}`,
    BASE,
    "other.example.com",
    "gone.example.com",
  ]) {
    const { statusCode, headers } = await get(port, unknown);
    expect([statusCode, headers.location], unknown).toEqual([404, undefined]);
  }
  await register(server, { instance: "narrow", app: "narrow" }, generateKeyPair().publicKey, 2, {
    publicPorts: [8090, 8443],
  });
  expect((await get(port, `${idOf("narrow")}-8443.${BASE}`)).statusCode).toBe(308);
  for (const closed of [`${idOf("narrow")}.${BASE}`, `${idOf("narrow")}-8080.${BASE}`]) {
    expect((await get(port, closed)).statusCode, `P3: ${closed}`).toBe(404);
  }
  expect((await get(port, "127.0.0.1")).statusCode).toBe(400);
  expect((await get(port, "a_b.example.org")).statusCode).toBe(400);
  expect((await get(port, name, "http://evil.example/")).statusCode).toBe(400);
});

it("stops while the node is drained, and listens again on the same port when it is resumed", async () => {
  await using site = await makeSite({ proxy: { listen_port_http: 0 } });
  await using server = await start(site);
  const port = server.redirectPort ?? 0;
  const refused = () =>
    get(port, BASE).then(
      () => false,
      (err: NodeJS.ErrnoException) => err.code === "ECONNREFUSED",
    );
  expect(await refused()).toBe(false);
  const { name } = server.nodes.self();
  await server.nodes.setDraining(name, true);
  await expect.poll(refused).toBe(true);
  await server.nodes.setDraining(name, false);
  await expect.poll(refused).toBe(false);
});

it("listens again on every port of a node that is resumed, though another program had one of them for a moment", async () => {
  await using site = await makeSite({
    proxy: { listen_port_http: 0, listen_port_passthrough: 0, engine: "js" },
  });
  await using server = await start(site);
  const ports = [server.proxyPort, server.passthroughPort ?? 0, server.redirectPort ?? 0];
  const listening = (): Promise<boolean[]> =>
    Promise.all(
      ports.map(async (port) => {
        const socket = connect(port, "127.0.0.1");
        const isOpen = await once(socket, "connect").then(
          () => true,
          () => false,
        );
        socket.destroy();
        return isOpen;
      }),
    );
  const { name } = server.nodes.self();
  for (const taken of ports) {
    await server.nodes.setDraining(name, true);
    await expect.poll(listening).toEqual([false, false, false]);
    const other = createServer().listen(taken, "127.0.0.1");
    await once(other, "listening");
    await server.nodes.setDraining(name, false);
    await sleep(500);
    other.close();
    await expect.poll(listening).toEqual([true, true, true]);
  }
});

it("leaves the port out where the world sees 443, and ends each connection after its answer", async () => {
  await using redirect = await listenRedirect({
    host: "127.0.0.1",
    port: 0,
    httpsPort: 443,
    isRouted: () => Promise.resolve(true),
  });
  const answer = await get(redirect.port, "a.example.org", "/x");
  expect(answer.headers).toMatchObject({ location: "https://a.example.org/x", connection: "close" });
});

it("P4: lets in so many connections of one source", async () => {
  await using redirect = await listenRedirect({
    host: "127.0.0.1",
    port: 0,
    httpsPort: 443,
    isRouted: () => Promise.resolve(true),
  });
  const open = Array.from({ length: 20 }, () => connect(redirect.port, "127.0.0.1"));
  await Promise.all(open.map((socket) => once(socket, "connect")));
  const over = connect(redirect.port, "127.0.0.1");
  const reset = await new Promise((resolve) => {
    over.once("error", (err) => resolve("code" in err && err.code));
    over.once("close", () => resolve("closed"));
  });
  expect(reset).toBe("ECONNRESET");
  for (const socket of open) socket.destroy();
});
