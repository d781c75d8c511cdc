import { createApp, silentLogger } from "@dstack/daemon";
import { RpcError } from "@dstack/prpc";
import { describe, expect, it } from "vitest";
import type { TproxyContext } from "../src/context.js";
import { tproxyService } from "../src/rpc/tproxy-service.js";
import { guardStatusRoutes, requireStatusAccess } from "../src/status-access.js";
import { getText } from "./http.js";
import { makeSite, rpcClient, start } from "./site.js";

describe("P7: what runs behind the proxy is told on this machine only", () => {
  it.each(["192.0.2.1", "10.77.0.2", "2001:db8::1", "::ffff:192.0.2.1", "", "unix"])(
    "P7: not to %j",
    (address) => {
      expect(() => requireStatusAccess("loopback", address)).toThrow(RpcError);
      expect(() => requireStatusAccess("anywhere", address)).not.toThrow();
    },
  );

  it.each(["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])("P7: to %s", (address) => {
    expect(() => requireStatusAccess("loopback", address)).not.toThrow();
  });

  it("P7: guards page and metrics, in any spelling, and not the health check", async () => {
    const app = createApp({ log: silentLogger() });
    guardStatusRoutes(app, "loopback");
    for (const path of ["/", "/metrics", "/healthz"]) app.get(path, async () => "told");
    const status = async (url: string, remoteAddress: string): Promise<number> =>
      (await app.inject({ url, remoteAddress })).statusCode;
    for (const path of ["/", "/?x", "/metrics", "/%6detrics", "/metrics?x"]) {
      expect([path, await status(path, "192.0.2.1")]).toEqual([path, 403]);
      expect([path, await status(path, "127.0.0.1")]).toEqual([path, 200]);
    }
    expect(await status("/healthz", "192.0.2.1")).toBe(200);
    await app.close();
  });

  it("P7: List asks where its caller is, RegisterCvm and AcmeInfo do not", async () => {
    const { methods } = tproxyService({} as TproxyContext, "loopback");
    const guard = async (method: string, remoteAddress: string): Promise<void> =>
      methods
        .get(method)
        ?.guard({ peer: undefined, remoteAddress, requestId: "", signal: new AbortController().signal });
    await expect(guard("List", "192.0.2.1")).rejects.toMatchObject({ status: 403 });
    await expect(guard("List", "127.0.0.1")).resolves.toBeUndefined();
    await expect(guard("AcmeInfo", "192.0.2.1")).resolves.toBeUndefined();
    await expect(guard("RegisterCvm", "192.0.2.1")).rejects.toMatchObject({ status: 401 });
  });

  it("P7: List, page and metrics of a running tproxy answer this machine", async () => {
    await using site = await makeSite();
    await using server = await start(site);
    await using client = rpcClient(server.url);
    expect((await client.list({})).hosts).toEqual([]);
    for (const path of ["/", "/metrics"]) expect((await getText(server.url, path)).status).toBe(200);
  });
});
