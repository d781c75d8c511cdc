import { createConnection } from "node:net";
import { once } from "node:events";
import { createClient } from "@dstack/prpc";
import { kms } from "@dstack/proto";
import { VerifiedPeer } from "@dstack/ra-tls";
import { afterEach, describe, expect, it, vi } from "vitest";
import { attested, raTlsTransport, requireAttested } from "../src/index.js";
import type { ServerIdentity, Verifier } from "../src/index.js";
import { appIdOf, ca, dial, exchange, guest, listen, plainClient, verifier } from "./site.js";

const good = await guest();

function clientOf(url: string, identity: Partial<ServerIdentity> = {}) {
  const transport = raTlsTransport({ url, caPem: ca.certPem, ...identity });
  return {
    ...createClient(kms.KMS, transport),
    [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose](),
  };
}

/** Headers that announce a body which never comes. */
const announced =
  "POST /prpc/KMS.GetAppKey?json HTTP/1.1\r\nhost: kms\r\ncontent-type: application/json\r\ncontent-length: 1000000\r\n\r\n";
const oneRequest = (method: string): string =>
  `POST /prpc/KMS.${method}?json HTTP/1.1\r\nhost: kms\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}`;

/** A promise with its functions outside. */
function gate(): { opened: Promise<void>; open: () => void } {
  let open = (): void => {};
  const opened = new Promise<void>((resolve) => (open = resolve));
  return { opened, open };
}

describe("attested calls", () => {
  it("carry the identity that the evidence proves", async () => {
    await using server = await listen();
    await using client = clientOf(server.url, good);
    expect((await client.getAppKey()).appKey).toBe(appIdOf("app"));
    expect((await client.getMeta()).caCert).toBe(appIdOf("app"));
  });

  it("take a certificate of nearly 64 KiB", async () => {
    await using server = await listen();
    const large = await guest("app", { extraLog: 40_000 });
    expect(Buffer.byteLength(large.certChain)).toBeGreaterThan(55_000);
    await using client = clientOf(server.url, large);
    expect((await client.getAppKey()).appKey).toBe(appIdOf("app"));
  });

  it("keep callers apart", async () => {
    await using server = await listen();
    const apps = ["one", "two", "three"];
    await Promise.all(
      apps.map(async (app) => {
        await using client = clientOf(server.url, await guest(app));
        for (let i = 0; i < 3; i += 1) expect((await client.getAppKey()).appKey).toBe(appIdOf(app));
      }),
    );
  });
});

describe("K1: no keys without verified evidence", () => {
  it("K1: no client certificate is a 401 before the body is read", async () => {
    await using server = await listen();
    const answer = await exchange(await dial(server.port), announced);
    expect(answer).toMatch(/^HTTP\/1.1 401 /);
    expect(answer).toContain('{"error":"a client certificate with attestation evidence is required"}');
  });

  it("K1: a certificate without evidence is a 401 before the body is read", async () => {
    await using server = await listen();
    const { key, certChain } = await plainClient();
    const answer = await exchange(await dial(server.port, { key, cert: certChain }), announced);
    expect(answer).toMatch(/^HTTP\/1.1 401 /);
    expect(answer).toContain("certificate carries no quote");
  });

  it("K1: evidence that is not accepted is a 403 with one sentence, before the body is read", async () => {
    await using server = await listen();
    const edited = await guest("app", { edit: (events) => events.slice(0, -1) });
    const { key, certChain } = edited;
    const answer = await exchange(await dial(server.port, { key, cert: certChain }), announced);
    expect(answer).toMatch(/^HTTP\/1.1 403 /);
    expect(answer).toMatch(/\{"error":"evidence refused: [^"]*RTMR3[^"]*"\}$/);
  });

  it("K1: methods for everybody still work without a certificate", async () => {
    await using server = await listen();
    await using client = clientOf(server.url);
    expect((await client.getMeta()).caCert).toBe("nobody");
    await expect(client.getAppKey()).rejects.toMatchObject({ code: "unauthenticated", status: 401 });
  });

  it("K1: nobody is attested where no verifier was given", async () => {
    const { verifier: _none, ...withoutVerifier } = { verifier };
    await using server = await listen({ ...withoutVerifier, verifier: undefined as never });
    await using client = clientOf(server.url, good);
    await expect(client.getAppKey()).rejects.toMatchObject({ code: "unauthenticated" });
  });

  it("K1: an object that only looks like a verified peer is nobody", () => {
    const fake = { appId: appIdOf("app") } as unknown as VerifiedPeer;
    const call = { peer: fake, signal: new AbortController().signal, requestId: "", remoteAddress: "" };
    expect(() => requireAttested(call)).toThrow("evidence is required");
    expect(() => attested("GetAppKey", { ...call, peer: undefined })).toThrow("evidence is required");
  });
});

describe("E4: the quote is over the key of this very handshake", () => {
  it("E4: a quote over another key is refused", async () => {
    await using server = await listen();
    await using client = clientOf(server.url, await guest("app", { otherKey: true }));
    await expect(client.getAppKey()).rejects.toMatchObject({
      code: "permission_denied",
      message: expect.stringContaining("report data") as string,
    });
  });

  it("E4: somebody else's certificate is of no use without its key", async () => {
    await using server = await listen();
    const { key } = await plainClient();
    await expect(dial(server.port, { key, cert: good.certChain })).rejects.toThrow(/key values mismatch/i);
  });
});

describe("the connection waits for the verdict", () => {
  /** Verifies as the real one, but only once it is let. */
  function heldVerifier(): { held: Verifier; asked: Promise<void>; open: () => void } {
    const start = gate();
    const verdict = gate();
    const held: Verifier = {
      async verifyPeer(certificate, now) {
        start.open();
        await verdict.opened;
        return verifier.verifyPeer(certificate, now);
      },
    };
    return { held, asked: start.opened, open: verdict.open };
  }

  it("no byte of a request is parsed before the evidence is verified", async () => {
    const { held, asked, open } = heldVerifier();
    const seen: string[] = [];
    await using server = await listen({
      verifier: held,
      mount: (app) => {
        app.server.on("request", () => seen.push("request"));
        app.server.on("clientError", () => seen.push("parse error"));
      },
    });
    const socket = await dial(server.port, { key: good.key, cert: good.certChain });
    const answer = exchange(socket, oneRequest("GetAppKey"));
    const garbage = await dial(server.port, { key: good.key, cert: good.certChain });
    const refused = exchange(garbage, "\0\0 this is not HTTP\r\n\r\n");
    await asked;
    // The server answers another connection meanwhile: it is alive, and has not touched the held ones.
    expect(await exchange(await dial(server.port), oneRequest("GetMeta"))).toContain("nobody");
    expect(seen).toEqual(["request"]);
    open();
    expect(await answer).toContain(appIdOf("app"));
    expect(await refused).toMatch(/^HTTP\/1.1 400 /);
    expect(seen.toSorted()).toEqual(["parse error", "request", "request"]);
  });

  it("a verification that takes too long is a 503, not a free pass", async () => {
    const never: Verifier = { verifyPeer: () => new Promise(() => {}) };
    await using server = await listen({ verifier: never, limits: { verifyMs: 30 } });
    await using client = clientOf(server.url, good);
    await expect(client.getAppKey()).rejects.toMatchObject({
      status: 503,
      message: "verifying the client's evidence took longer than 30 ms",
    });
    expect((await client.getMeta()).caCert).toBe("nobody");
  });

  it("a verifier that fails in a way nobody foresaw refuses and tells nothing", async () => {
    const broken: Verifier = { verifyPeer: () => Promise.reject(new TypeError("x is undefined, secret")) };
    await using server = await listen({ verifier: broken });
    await using client = clientOf(server.url, good);
    await expect(client.getAppKey()).rejects.toMatchObject({
      status: 403,
      message: "evidence refused: it could not be verified",
    });
  });

  it("only so many connections are verified at a time; the next one is dropped, and who shows no certificate is served", async () => {
    const { held, asked, open } = heldVerifier();
    await using server = await listen({ verifier: held, limits: { maxPending: 1 } });
    const identity = { key: good.key, cert: good.certChain };
    const first = exchange(await dial(server.port, identity), oneRequest("GetAppKey"));
    await asked;
    expect(await exchange(await dial(server.port, identity), oneRequest("GetAppKey"))).toBe("");
    expect(await exchange(await dial(server.port), oneRequest("GetMeta"))).toContain("nobody");
    open();
    expect(await first).toContain(appIdOf("app"));
    expect(await exchange(await dial(server.port, identity), oneRequest("GetAppKey"))).toContain(
      appIdOf("app"),
    );
  });

  it("a client that leaves during verification does no harm", async () => {
    const { held, asked, open } = heldVerifier();
    await using server = await listen({ verifier: held });
    const below = createConnection(server.port, "127.0.0.1").on("error", () => {});
    const socket = await dial(server.port, { key: good.key, cert: good.certChain, socket: below });
    socket.on("error", () => {}).write(oneRequest("GetAppKey"));
    await asked;
    below.resetAndDestroy();
    await once(below, "close");
    open();
    await using client = clientOf(server.url, good);
    expect((await client.getAppKey()).appKey).toBe(appIdOf("app"));
  });
});

describe("evidence ages", () => {
  afterEach(() => void vi.useRealTimers());

  it("a connection older than an hour takes one more request and is closed", async () => {
    await using server = await listen();
    const { Agent, request } = await import("undici");
    const agent = new Agent({
      connections: 1,
      connect: { ca: ca.certPem, key: good.key, cert: good.certChain },
    });
    const connectionHeader = async (): Promise<unknown> => {
      const answer = await request(`${server.url}/prpc/KMS.GetMeta`, { dispatcher: agent });
      await answer.body.dump();
      return answer.headers["connection"];
    };
    expect(await connectionHeader()).toBe("keep-alive");
    vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + 3_601_000 });
    expect(await connectionHeader()).toBe("close");
    expect(await connectionHeader()).toBe("keep-alive");
    await agent.destroy();
  });
});

describe("TLS", () => {
  it("is 1.3 only", async () => {
    await using server = await listen();
    await expect(dial(server.port, { maxVersion: "TLSv1.2" })).rejects.toThrow(/protocol version/i);
    expect((await dial(server.port)).destroy()).toBeDefined();
  });

  it("K1: is never resumed, so that every connection shows its certificate", async () => {
    await using server = await listen();
    const identity = { key: good.key, cert: good.certChain };
    const first = await dial(server.port, identity);
    let ticket: Buffer | undefined;
    first.on("session", (session: Buffer) => (ticket = session));
    expect(await exchange(first, oneRequest("GetAppKey"))).toContain(appIdOf("app"));
    const session = ticket ?? first.getSession();
    if (session === undefined) throw new Error("there is no session to try");
    // Without a certificate of its own, a holder of the session is nobody.
    const second = await dial(server.port, { session });
    expect(second.isSessionReused()).toBe(false);
    expect(await exchange(second, oneRequest("GetAppKey"))).toMatch(/^HTTP\/1.1 401 /);
  });

  it("has a time limit for the handshake", async () => {
    await using server = await listen({ limits: { handshakeMs: 50 } });
    const silent = createConnection(server.port, "127.0.0.1").on("error", () => {});
    await once(silent.resume(), "close");
  });

  it("closes slow clients after the handshake too", async () => {
    await using server = await listen({ limits: { http: { headersMs: 100, checkMs: 20 } } });
    expect(await exchange(await dial(server.port), "POST /prpc/KMS.GetMeta HTTP/1.1\r\nx: ")).toMatch(
      /^HTTP\/1.1 408/,
    );
  });
});
