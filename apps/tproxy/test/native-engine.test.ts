import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { expect, it } from "vitest";
import { getText } from "./http.js";
import { BASE, idOf, makeSite, register, start, writePair } from "./site.js";

/** Guests get addresses at which this machine hears itself: what is dialled is real. */
const loopback = { ip: "127.77.0.1", client_ip_range: "127.77.0.0/24" };

it("carries requests, and takes a new certificate, with the native engine, which is the default", async () => {
  await using site = await makeSite({ wg: loopback });
  await using server = await start(site);
  const { wg } = await register(server, {}, generateKeyPair().publicKey);
  const app = createServer((_request, response) => void response.end("from the app"));
  app.listen(0, wg?.clientIp);
  await once(app, "listening");
  const name = `${idOf("app")}-${(app.address() as AddressInfo).port}.${BASE}`;
  const fetchApp = () => getText(`https://127.0.0.1:${server.proxyPort}`, "/", { servername: name });
  expect(await fetchApp()).toMatchObject({ status: 200, text: "from the app" });
  await writePair(site.dir, "wildcard", `*.${BASE}`);
  await server.reload();
  expect(await fetchApp()).toMatchObject({ status: 200, text: "from the app" });
  const metrics = async () => (await getText(server.url, "/metrics")).text;
  const counted = async (): Promise<number> => {
    const lines = (await metrics()).matchAll(
      /^tproxy_connections_total\{outcome="\w+",mode="terminate"\} (\d+)$/gm,
    );
    return [...lines].reduce((sum, line) => sum + Number(line[1]), 0);
  };
  // Told by another process: a moment later. How the client's end came, as end or reset, is chance.
  await expect.poll(counted).toBe(2);
  expect(await metrics()).toMatch(/^tproxy_data_plane_troubles_total 0$/m);
  expect(await metrics()).toMatch(/^tproxy_data_plane_engine\{engine="native"\} 1$/m);
  app.close();
});
