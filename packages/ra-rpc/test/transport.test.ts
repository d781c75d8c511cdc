import { X509Certificate } from "node:crypto";
import { CertificateAuthority } from "@dstack/ra-tls";
import { createClient } from "@dstack/prpc";
import { kms } from "@dstack/proto";
import { describe, expect, it } from "vitest";
import { raTlsTransport } from "../src/index.js";
import type { RaTlsTransportOptions } from "../src/index.js";
import { appIdOf, ca, dial, guest, listen, serverIdentity, verifier } from "./site.js";

async function getMeta(options: RaTlsTransportOptions): Promise<string> {
  await using transport = raTlsTransport(options);
  return (await createClient(kms.KMS, transport).getMeta()).caCert;
}

describe("raTlsTransport", () => {
  it("talks only to a server whose certificate chains to the given CA", async () => {
    await using server = await listen();
    expect(await getMeta({ url: server.url, caPem: ca.certPem })).toBe("nobody");
    const other = await CertificateAuthority.create({ commonName: "test root" });
    await expect(getMeta({ url: server.url, caPem: other.certPem })).rejects.toMatchObject({
      code: "unavailable",
    });
  });

  it("checks the server's name: the URL's host, or the one it is told", async () => {
    await using server = await listen(await serverIdentity("kms.test"));
    await expect(getMeta({ url: server.url, caPem: ca.certPem })).rejects.toThrow(/altnames/i);
    expect(await getMeta({ url: server.url, caPem: ca.certPem, servername: "kms.test" })).toBe("nobody");
  });

  it("shows its certificate on every connection", async () => {
    await using server = await listen({ limits: { http: { keepAliveMs: 1 } } });
    await using transport = raTlsTransport({ url: server.url, caPem: ca.certPem, ...(await guest()) });
    const client = createClient(kms.KMS, transport);
    for (let i = 0; i < 3; i += 1) {
      const calls = await Promise.all([client.getAppKey(), client.getAppKey(), client.getAppKey()]);
      for (const { appKey } of calls) expect(appKey).toBe(appIdOf("app"));
    }
  });

  it("E13: a session is one connection, and is not continued on another one", async () => {
    await using server = await listen({ limits: { http: { keepAliveMs: 1 } } });
    await using transport = raTlsTransport({ url: server.url, caPem: ca.certPem, ...(await guest()) });
    await transport.withSession(async (session) => {
      const client = createClient(kms.KMS, session);
      expect((await client.getMeta()).caCert).toBe(appIdOf("app"));
      await expect(client.getMeta()).rejects.toMatchObject({
        code: "unavailable",
        message: expect.stringContaining("the connection was closed") as string,
      });
    });
    expect((await createClient(kms.KMS, transport).getMeta()).caCert).toBe(appIdOf("app"));
  });

  it("sends nothing to a server whose evidence it does not accept", async () => {
    let requests = 0;
    const mount = (app: { server: { on(event: "request", listener: () => void): unknown } }): void => {
      app.server.on("request", () => (requests += 1));
    };
    await using plain = await listen({ mount });
    const options = { caPem: ca.certPem, verifyServer: verifier };
    await expect(getMeta({ ...options, url: plain.url })).rejects.toThrow(/carries no quote/);
    expect(requests).toBe(0);
    await using attestedServer = await listen({ ...(await guest("kms")), mount });
    expect(await getMeta({ ...options, url: attestedServer.url })).toBe("nobody");
    expect(requests).toBe(1);
  });
});

describe("a listener", () => {
  it("takes a renewed certificate for new connections", async () => {
    await using server = await listen();
    const fingerprint = async (): Promise<string | undefined> => {
      const socket = await dial(server.port);
      const certificate = socket.getPeerX509Certificate();
      socket.destroy();
      return certificate?.fingerprint256;
    };
    const before = await fingerprint();
    const renewed = await serverIdentity();
    server.renew(renewed);
    expect(await fingerprint()).toBe(new X509Certificate(renewed.certChain).fingerprint256);
    expect(await fingerprint()).not.toBe(before);
    await expect(dial(server.port, { maxVersion: "TLSv1.2" })).rejects.toThrow(/protocol version/i);
  });

  it("gives its own routes the same peers", async () => {
    await using server = await listen({
      services: [],
      mount: (app, peerOf) => {
        app.get("/whoami", async (request) => ({ appId: peerOf(request).peer?.appId ?? null }));
      },
    });
    const { key, certChain } = await guest();
    const { Agent, request } = await import("undici");
    const agent = new Agent({ connect: { ca: ca.certPem, key, cert: certChain } });
    const answer = await request(`${server.url}/whoami`, { dispatcher: agent });
    expect(await answer.body.json()).toEqual({ appId: appIdOf("app") });
    await agent.destroy();
  });
});
