import { once } from "node:events";
import { createHash, randomBytes } from "node:crypto";
import { type ClientHttp2Session, connect as http2Connect } from "node:http2";
import type { IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { createServer as createTcpServer } from "node:net";
import { text } from "node:stream/consumers";
import { createSecureContext } from "node:tls";
import { describe, expect, it } from "vitest";
import { keyExchangeGroups } from "../src/proxy/groups.js";
import type { PublicServer } from "../src/proxy/server.js";
import { DOMAIN, listening, rawExchange, selfSigned, startApp, startProxy, tlsConnect } from "./support.js";

interface Answer {
  status: number;
  headers: IncomingMessage["headers"];
  body: string;
}

/** One request over HTTP/1.1 with its own connection. */
async function fetchHttp1(
  { port }: PublicServer,
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string | Buffer } = {},
): Promise<Answer> {
  const request = httpsRequest({
    host: "127.0.0.1",
    port,
    path,
    servername: DOMAIN,
    rejectUnauthorized: false,
    agent: false,
    method: options.method ?? "GET",
    headers: { host: DOMAIN, ...options.headers },
  });
  request.end(options.body);
  const [response] = (await once(request, "response")) as [IncomingMessage];
  return { status: response.statusCode ?? 0, headers: response.headers, body: await text(response) };
}

function openHttp2({ port }: PublicServer): ClientHttp2Session {
  return http2Connect(`https://${DOMAIN}:${port}`, {
    host: "127.0.0.1",
    servername: DOMAIN,
    rejectUnauthorized: false,
  });
}

async function fetchHttp2(
  session: ClientHttp2Session,
  headers: Record<string, string>,
  body?: string,
): Promise<Answer> {
  const stream = session.request({ ":authority": DOMAIN, ...headers }, { endStream: body === undefined });
  if (body !== undefined) stream.end(body);
  const [got] = (await once(stream, "response")) as [Record<string, string> & { ":status": number }];
  return { status: got[":status"], headers: got, body: await text(stream) };
}

/** Answers with what it was sent. */
const echo = () =>
  startApp((request, response) => {
    void text(request).then((body) => {
      const { method, url, headers } = request;
      response.setHeader("content-type", "application/json");
      response.setHeader("keep-alive", "timeout=1");
      response.setHeader("x-once", "secret");
      response.setHeader("connection", "close, x-once");
      response.end(JSON.stringify({ method, url, headers, body }));
    });
  });
const echoed = ({ body }: Answer) =>
  JSON.parse(body) as { method: string; url: string; headers: Record<string, string>; body: string };

describe("the reverse proxy", () => {
  it("passes HTTP/1.1 and HTTP/2 on, with who asked and for what, and without what is of one connection", async () => {
    await using app = await echo();
    await using proxy = await startProxy(`http://127.0.0.1:${app.port}`);
    const headers = {
      "x-forwarded-for": "1.2.3.4",
      "x-forwarded-proto": "http",
      forwarded: "for=1.2.3.4",
      te: "trailers",
      "x-own": "kept",
    };
    const hop = { connection: "keep-alive, x-private", "x-private": "1", "keep-alive": "timeout=5" };
    const first = await fetchHttp1(proxy, "/a?b=c", { headers: { ...headers, ...hop } });
    const session = openHttp2(proxy);
    const second = await fetchHttp2(session, { ":path": "/a?b=c", ...headers });
    session.close();
    for (const answer of [first, second]) {
      const request = echoed(answer);
      expect(request).toMatchObject({ method: "GET", url: "/a?b=c", body: "" });
      expect(request.headers).toEqual({
        host: DOMAIN,
        connection: "close",
        "x-own": "kept",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-host": DOMAIN,
        "x-forwarded-proto": "https",
        "x-real-ip": "127.0.0.1",
      });
      expect(answer.headers).not.toHaveProperty("x-once");
      expect(answer.headers["keep-alive"] ?? "").not.toContain("timeout=1,");
    }
  });

  it("carries bodies both ways byte for byte, with a length and without", async () => {
    await using app = await startApp((request, response) => void request.pipe(response));
    await using proxy = await startProxy(`http://127.0.0.1:${app.port}`);
    const bytes = randomBytes(3_000_000);
    const hash = createHash("sha256").update(bytes.toString("hex")).digest("hex");
    const sent = await fetchHttp1(proxy, "/", { method: "POST", body: bytes.toString("hex") });
    expect(createHash("sha256").update(sent.body).digest("hex")).toBe(hash);
    const chunked = {
      method: "POST",
      headers: { "transfer-encoding": "chunked" },
      body: bytes.toString("hex"),
    };
    expect(
      createHash("sha256")
        .update((await fetchHttp1(proxy, "/", chunked)).body)
        .digest("hex"),
    ).toBe(hash);
    const session = openHttp2(proxy);
    const over2 = await fetchHttp2(session, { ":method": "POST", ":path": "/" }, bytes.toString("hex"));
    expect(createHash("sha256").update(over2.body).digest("hex")).toBe(hash);
    session.close();
  });

  it("passes on answers that have no body, with their headers", async () => {
    await using app = await startApp((request, response) => {
      const [, status = "200"] = request.url?.split("/") ?? [];
      response.writeHead(Number(status), status === "200" ? { "content-length": "5" } : { etag: '"1"' });
      response.end(status === "200" ? "hello" : undefined);
    });
    await using proxy = await startProxy(`http://127.0.0.1:${app.port}`);
    const session = openHttp2(proxy);
    for (const [method, path, header] of [
      ["HEAD", "/200", "content-length"],
      ["GET", "/304", "etag"],
      ["GET", "/204", "etag"],
    ] as const) {
      const over1 = await fetchHttp1(proxy, path, { method });
      const over2 = await fetchHttp2(session, { ":method": method, ":path": path });
      for (const answer of [over1, over2]) {
        expect(answer).toMatchObject({ status: Number(path.slice(1)), body: "" });
        expect(answer.headers[header]).toBeDefined();
      }
    }
    session.close();
  });

  it("passes a stream on as it comes, and tells the app when the client has gone", async () => {
    let gone: Promise<unknown> = Promise.resolve();
    await using app = await startApp((_, response) => {
      gone = once(response, "close");
      response.writeHead(200, { "content-type": "text/event-stream" });
      response.write("data: one\n\n");
    });
    await using proxy = await startProxy(`http://127.0.0.1:${app.port}`);
    const session = openHttp2(proxy);
    const stream = session.request({ ":authority": DOMAIN, ":path": "/" });
    const [part] = (await once(stream, "data")) as [Buffer];
    expect(part.toString()).toBe("data: one\n\n");
    stream.close();
    await gone;
    session.close();
  });

  it("does not pass off a part of an answer as the whole", async () => {
    await using app = await startApp((_, response) => {
      response.writeHead(200, { "content-length": "10" });
      response.write("half", () => response.destroy());
    });
    await using proxy = await startProxy(`http://127.0.0.1:${app.port}`);
    await expect(fetchHttp1(proxy, "/")).rejects.toThrow(/aborted/);
    const session = openHttp2(proxy);
    await expect(fetchHttp2(session, { ":path": "/" })).rejects.toThrow(/NGHTTP2|aborted/i);
    session.destroy();
  });

  it("says 502 when the app is not there, and goes on", async () => {
    const app = await echo();
    await app[Symbol.asyncDispose]();
    await using proxy = await startProxy(`http://127.0.0.1:${app.port}`);
    const body = "x".repeat(100_000);
    for (const method of ["GET", "POST"]) {
      const options = method === "POST" ? { method, body } : { method };
      expect(await fetchHttp1(proxy, "/", options)).toMatchObject({ status: 502 });
    }
    const session = openHttp2(proxy);
    expect(await fetchHttp2(session, { ":method": "POST", ":path": "/" }, body)).toMatchObject({
      status: 502,
    });
    expect(await fetchHttp2(session, { ":path": "/" })).toMatchObject({ status: 502 });
    session.close();
  });

  it("serves no other host, no tunnel and no mirror", async () => {
    await using app = await echo();
    await using proxy = await startProxy(`http://127.0.0.1:${app.port}`);
    expect(await fetchHttp1(proxy, "/", { headers: { host: "other.test" } })).toMatchObject({ status: 421 });
    expect(await fetchHttp1(proxy, "/", { headers: { host: `${DOMAIN.toUpperCase()}:443` } })).toMatchObject({
      status: 200,
    });
    expect(await fetchHttp1(proxy, "/", { method: "TRACE" })).toMatchObject({ status: 400 });
    expect(await fetchHttp1(proxy, "http://other.test/", {})).toMatchObject({ status: 400 });
    expect(await rawExchange(proxy.port, `CONNECT ${DOMAIN}:22 HTTP/1.1\r\nHost: ${DOMAIN}\r\n\r\n`)).toBe(
      "",
    );
    const session = openHttp2(proxy);
    expect(await fetchHttp2(session, { ":path": "/", host: "other.test" })).toMatchObject({ status: 400 });
    session.close();
  });
});

describe("requests that two ends could read differently", () => {
  const post = `POST / HTTP/1.1\r\nHost: ${DOMAIN}\r\n`;
  it.each([
    ["length and chunks", `${post}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /x`],
    ["chunks and length", `${post}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\nGET /x`],
    ["two lengths", `${post}Content-Length: 4\r\nContent-Length: 5\r\n\r\nabcde`],
    ["a length that is a list", `${post}Content-Length: 4, 4\r\n\r\nabcd`],
    ["a length with a sign", `${post}Content-Length: +4\r\n\r\nabcd`],
    ["chunks that are not last", `${post}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n`],
    ["a coding nobody knows", `${post}Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n`],
    ["a space before the colon", `${post}Content-Length : 4\r\n\r\nabcd`],
    ["a folded header", `${post}X-A: a\r\n Content-Length: 4\r\n\r\nabcd`],
    ["bare line feeds", `POST / HTTP/1.1\nHost: ${DOMAIN}\nContent-Length: 4\n\nabcd`],
    ["a chunk size that is no number", `${post}Transfer-Encoding: chunked\r\n\r\n0x4\r\nabcd\r\n0\r\n\r\n`],
    ["no host", "GET / HTTP/1.1\r\n\r\n"],
    ["an upgrade to h2c", `GET / HTTP/1.1\r\nHost: ${DOMAIN}\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n`],
  ])("refuses %s: the app sees at most one request, and never what is smuggled", async (_name, bytes) => {
    const seen: string[] = [];
    await using app = await startApp((request, response) => {
      seen.push(`${request.method} ${request.url}`);
      request.resume();
      response.end("ok");
    });
    await using proxy = await startProxy(`http://127.0.0.1:${app.port}`);
    const answer = await rawExchange(proxy.port, bytes);
    expect(answer).toMatch(/^HTTP\/1\.1 400 /);
    expect(seen.length).toBeLessThanOrEqual(1);
    expect(seen).not.toContain("GET /x");
  });

  it("frames a body of a GET, which Node by itself would not", async () => {
    for (const head of [
      "Transfer-Encoding: chunked\r\n\r\n1d\r\n",
      "Content-Length: 29\r\n\r\n",
      // As if the length were of the client's connection only.
      "Connection: content-length\r\nContent-Length: 29\r\n\r\n",
    ]) {
      const body = `GET /smuggled HTTP/1.1\r\nX: y\r\n`.slice(0, 29);
      const end = head.startsWith("T") ? "\r\n0\r\n\r\n" : "";
      const seen: string[] = [];
      await using app = await startApp((request, response) => {
        void text(request).then((got) => {
          seen.push(`${request.method} ${request.url} ${got.length}`);
          response.end("ok");
        });
      });
      await using proxy = await startProxy(`http://127.0.0.1:${app.port}`);
      await rawExchange(
        proxy.port,
        `GET / HTTP/1.1\r\nHost: ${DOMAIN}\r\nConnection: close\r\n${head}${body}${end}`,
      );
      expect(seen).toEqual(["GET / 29"]);
    }
    const seen: string[] = [];
    await using app = await startApp((request, response) => {
      void text(request).then((got) => {
        seen.push(`${request.method} ${request.url} ${got.length} ${request.headers["transfer-encoding"]}`);
        response.end("ok");
      });
    });
    await using proxy = await startProxy(`http://127.0.0.1:${app.port}`);
    const session = openHttp2(proxy);
    await fetchHttp2(session, { ":method": "GET", ":path": "/" }, "GET /smuggled HTTP/1.1\r\n\r\n");
    session.close();
    expect(seen).toEqual(["GET / 26 chunked"]);
  });

  it("passes on nothing that an app may take for what only we say, underscores included", async () => {
    await using app = await echo();
    await using proxy = await startProxy(`http://127.0.0.1:${app.port}`);
    const spoofed = {
      "X_Forwarded-For": "1.2.3.4",
      x_real_ip: "1.2.3.4",
      transfer_encoding: "chunked",
      x_own: "y",
    };
    const { headers } = echoed(await fetchHttp1(proxy, "/", { headers: spoofed }));
    expect(Object.keys(headers).filter((name) => name.includes("_"))).toEqual(["x_own"]);
    expect(JSON.stringify(headers)).not.toContain("1.2.3.4");
  });

  it("takes each request of a pipeline for itself", async () => {
    await using app = await startApp((request, response) => response.end(request.url));
    await using proxy = await startProxy(`http://127.0.0.1:${app.port}`);
    const one = (path: string, rest = "") => `GET ${path} HTTP/1.1\r\nHost: ${DOMAIN}\r\n${rest}\r\n`;
    const answer = await rawExchange(proxy.port, one("/a") + one("/b") + one("/c", "Connection: close\r\n"));
    expect(answer.match(/\/[abc]/g)).toEqual(["/a", "/b", "/c"]);
  });
});

describe("WebSocket", () => {
  const opening = (key: string) =>
    `GET /socket HTTP/1.1\r\nHost: ${DOMAIN}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
    `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`;

  it("passes the opening on and then bytes both ways, also those that came early", async () => {
    await using app = await startApp(
      (_, response) => response.end(),
      (server) => {
        server.on("upgrade", (request, socket, head) => {
          const accept = createHash("sha1")
            .update(`${request.headers["sec-websocket-key"]}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`)
            .digest("base64");
          socket.write(
            `HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
              `Sec-WebSocket-Accept: ${accept}\r\n\r\nhello `,
          );
          socket.write(head);
          socket.pipe(socket);
        });
      },
    );
    await using proxy = await startProxy(`http://127.0.0.1:${app.port}`);
    const client = await tlsConnect(proxy.port);
    let got = "";
    client.setEncoding("latin1").on("data", (part: string) => (got += part));
    client.write(`${opening("dGhlIHNhbXBsZSBub25jZQ==")}early `);
    await expect.poll(() => got).toMatch(/hello early $/);
    expect(got).toMatch(/^HTTP\/1\.1 101 .*sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK\+xOo=/is);
    client.write("late");
    await expect.poll(() => got).toMatch(/hello early late$/);
    client.end();
    await once(client, "close");
  });

  it("passes a refusal on as an answer", async () => {
    await using app = await startApp((_, response) => response.writeHead(403).end("no sockets here"));
    await using proxy = await startProxy(`http://127.0.0.1:${app.port}`);
    const answer = await rawExchange(proxy.port, opening("x"));
    expect(answer).toMatch(/^HTTP\/1\.1 403 .*no sockets here/s);
  });
});

describe("TLS", () => {
  it("offers X25519, and hybrid groups where this OpenSSL has them", async () => {
    const groups = keyExchangeGroups().split(":");
    expect(groups).toContain("X25519");
    let hasHybrid = true;
    try {
      createSecureContext({ ecdhCurve: "X25519MLKEM768" });
    } catch {
      hasHybrid = false;
    }
    expect(groups[0]).toBe(hasHybrid ? "X25519MLKEM768" : "X25519");
  });

  it("takes another certificate for new connections and leaves those that are there alone", async () => {
    await using app = await startApp((_, response) => response.end("ok"));
    await using proxy = await startProxy(`http://127.0.0.1:${app.port}`);
    const session = openHttp2(proxy);
    expect(await fetchHttp2(session, { ":path": "/" })).toMatchObject({ body: "ok" });
    const before = await tlsConnect(proxy.port);
    proxy.setCertificate(await selfSigned());
    const after = await tlsConnect(proxy.port);
    expect(after.getPeerX509Certificate()?.raw).not.toEqual(before.getPeerX509Certificate()?.raw);
    expect(await fetchHttp2(session, { ":path": "/" })).toMatchObject({ body: "ok" });
    for (const socket of [before, after]) socket.destroy();
    session.close();
  });

  it("lets a request in flight end when it stops", async () => {
    let answer: () => void = () => {};
    const asked = new Promise<void>((resolve) => {
      answer = resolve;
    });
    let finish: () => void = () => {};
    await using app = await startApp((_, response) => {
      finish = () => void response.end("whole");
      response.write("the ");
      answer();
    });
    const proxy = await startProxy(`http://127.0.0.1:${app.port}`);
    const { port } = proxy;
    const idle = await tlsConnect(port);
    const inFlight = fetchHttp1(proxy, "/");
    const session = openHttp2(proxy);
    await asked;
    const stopped = proxy[Symbol.asyncDispose]();
    await expect(tlsConnect(port)).rejects.toThrow(/ECONNREFUSED/);
    finish();
    expect(await inFlight).toMatchObject({ body: "the whole" });
    await stopped;
    idle.destroy();
    session.destroy();
  });
});

describe("what one protocol can say and the other cannot", () => {
  it("is refused, and the ingress goes on", async () => {
    const server = createTcpServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", (head) => {
        const status = head.includes("/999") ? "999 Strange" : "200 OK";
        const header = head.includes("/odd") ? "x-odd: \u00e9\u00ff" : "x-even: yes";
        socket.end(`HTTP/1.1 ${status}\r\n${header}\r\nContent-Length: 2\r\n\r\nok`, "latin1");
      });
    });
    await using app = await listening(server);
    await using proxy = await startProxy(`http://127.0.0.1:${app.port}`);
    const session = openHttp2(proxy);
    expect(await fetchHttp2(session, { ":path": "/999" })).toMatchObject({ status: 502 });
    expect(await fetchHttp1(proxy, "/999")).toMatchObject({ status: 999 });
    expect(await fetchHttp2(session, { ":path": "/odd" })).toMatchObject({ status: 200 });
    // The HTTP/2 layer breaks some off by itself.
    for (const bad of [
      { ":path": "/", "x-more": "\u00e9\u20ac\u{1f600}" },
      { ":method": "A B", ":path": "/" },
      { ":path": "/\u00e9" },
    ]) {
      const answer = await fetchHttp2(session, bad).catch((err: unknown) => err);
      if (!(answer instanceof Error)) expect(answer).toMatchObject({ status: 400 });
    }
    expect(await fetchHttp2(session, { ":path": "/" })).toMatchObject({ status: 200, body: "ok" });
    session.close();
  });
});

describe("what an app says", () => {
  it("is not believed when it is no HTTP", async () => {
    const server = createTcpServer((socket) => {
      socket.on("error", () => {});
      socket.end("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n");
    });
    await using app = await listening(server);
    await using proxy = await startProxy(`http://127.0.0.1:${app.port}`);
    expect(await fetchHttp1(proxy, "/")).toMatchObject({ status: 502 });
  });
});
