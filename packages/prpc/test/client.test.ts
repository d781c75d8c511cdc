import { createServer } from "node:http";
import type { RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { createApp, listenHttp, silentLogger } from "@dstack/daemon";
import { kms } from "@dstack/proto";
import { describe, expect, it } from "vitest";
import {
  RpcError,
  createClient,
  httpTransport,
  implement,
  mountPrpc,
  toRpcError,
  unixTransport,
} from "../src/index.js";
import { InputError } from "@dstack/core";
import { serve, testKms } from "./listener.js";

/** A server that is not one of ours. */
async function foreignServer(listener: RequestListener): Promise<AsyncDisposable & { url: string }> {
  const server = createServer(listener).listen(0, "127.0.0.1");
  await new Promise((resolve) => server.once("listening", resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

describe("client", () => {
  it("calls over a unix socket and over TCP, with or without a path in the URL", async () => {
    await using server = await serve([testKms()]);
    await using unix = unixTransport(server.listener.address);
    const { publicKey } = await createClient(kms.KMS, unix).getAppEnvEncryptPubKey({ appId: "abc" });
    expect(Buffer.from(publicKey).toString()).toBe("abc");
    expect((await createClient(kms.KMS, unix).getMeta()).caCert).toBe("grün 🔑");

    const app = createApp({ log: silentLogger() });
    mountPrpc(app, [testKms()]);
    await using tcp = await listenHttp({ app, address: { host: "127.0.0.1", port: 0 } });
    for (const path of ["", "/", "/prpc", "/prpc/"]) {
      const client = createClient(kms.KMS, httpTransport({ baseUrl: `http://127.0.0.1:${tcp.port}${path}` }));
      expect((await client.getMeta()).caCert).toBe("grün 🔑");
    }
  });

  it.each([
    ["input", "bad_request", 400],
    ["unauthenticated", "unauthenticated", 401],
    ["denied", "permission_denied", 403],
    ["many", "too_many", 429],
  ] as const)("a failing call (%s) throws the server's message and code", async (appId, code, status) => {
    await using server = await serve([testKms()]);
    await using transport = unixTransport(server.listener.address);
    const call = createClient(kms.KMS, transport).getAppEnvEncryptPubKey({ appId });
    await expect(call).rejects.toBeInstanceOf(RpcError);
    await expect(call).rejects.toMatchObject({ code, status });
    await expect(call).rejects.not.toThrow("status");
  });

  it("says which call failed when nobody listens", async () => {
    const client = createClient(kms.KMS, unixTransport("/nonexistent/kms.sock"));
    await expect(client.getMeta()).rejects.toMatchObject({
      code: "unavailable",
      message: expect.stringContaining("calling KMS.GetMeta failed: ") as string,
    });
  });

  it("stops with the signal's reason", async () => {
    await using server = await serve([testKms({ onCall: () => new Promise(() => {}) })]);
    await using transport = unixTransport(server.listener.address);
    const stop = new AbortController();
    const reason = new Error("enough");
    const call = createClient(kms.KMS, transport).getAppKey({}, { signal: stop.signal });
    setImmediate(() => stop.abort(reason));
    await expect(call).rejects.toBe(reason);
  });

  it("gives the status of a server that does not speak pRPC, and refuses an answer that is no message", async () => {
    await using proxy = await foreignServer((_request, response) => {
      response.writeHead(502, { "content-type": "text/html" }).end("<html>Bad gateway</html>");
    });
    await expect(
      createClient(kms.KMS, httpTransport({ baseUrl: proxy.url })).getMeta(),
    ).rejects.toMatchObject({
      code: "internal",
      message: "the server answered with status 502",
    });
    await using strange = await foreignServer(
      (_request, response) => void response.end(Buffer.from("ffff", "hex")),
    );
    await expect(createClient(kms.KMS, httpTransport({ baseUrl: strange.url })).getMeta()).rejects.toThrow(
      "the answer of KMS.GetMeta cannot be read",
    );
  });

  it("takes no answer larger than 32 MiB", async () => {
    await using endless = await foreignServer((_request, response) => {
      const chunk = Buffer.alloc(2 ** 20);
      const more = (): void => void response.write(chunk, (err) => (err ? undefined : more()));
      response.on("error", () => {});
      more();
    });
    await expect(createClient(kms.KMS, httpTransport({ baseUrl: endless.url })).getMeta()).rejects.toThrow(
      /larger than 33554432 bytes/,
    );
  });
});

describe("toRpcError", () => {
  it("tells the caller about its own mistakes and nothing about ours", () => {
    expect(toRpcError(new InputError("bad"))).toMatchObject({ code: "bad_request", message: "bad" });
    const coded = Object.assign(new Error("policy says no"), { rpcCode: "permission_denied" });
    expect(toRpcError(coded)).toMatchObject({ status: 403, message: "policy says no" });
    for (const ours of [
      new Error("secret"),
      "secret",
      undefined,
      Object.assign(new Error("secret"), { rpcCode: "nope" }),
    ]) {
      expect(toRpcError(ours)).toMatchObject({ code: "internal", message: "internal error" });
    }
    const internal = Object.assign(new Error("secret"), { rpcCode: "internal" });
    expect(toRpcError(internal).message).toBe("internal error");
  });
});

describe("implement", () => {
  it("refuses what would be a silent mistake", () => {
    const handlers = {
      getAppKey: async () => ({}),
      getChallenge: async () => ({}),
      getAppEnvEncryptPubKey: async () => ({}),
      getMeta: async () => ({}),
    };
    expect(() => implement(kms.KMS, handlers, { aliases: { A: "Nope" } })).toThrow(
      "no method Nope for the alias A",
    );
    expect(() => implement(kms.KMS, handlers, { bodyLimits: { getMeta: 1 } })).toThrow(
      "no method getMeta to limit",
    );
    const partial = { ...handlers, getMeta: undefined } as unknown as typeof handlers;
    expect(() => implement(kms.KMS, partial)).toThrow("KMS.GetMeta has no handler");
  });
});
