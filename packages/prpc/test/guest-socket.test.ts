import { describe, expect, it } from "vitest";
import { FirstRequest } from "../src/undercounted-json.js";
import { serve, testKms, testTappd } from "./listener.js";
import type { TestServer } from "./listener.js";

const guestSocket = { bareMethods: true, asciiJson: true, lenientContentLength: true };

/** A request as the SDKs 0.1.7 and 0.5.8 write it: the length is that of the JavaScript string. */
function oldSdkRequest(path: string, payload: string): string {
  return (
    `POST ${path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n` +
    `Content-Length: ${payload.length}\r\n\r\n${payload}`
  );
}

/** The head and body of an answer, read as old SDKs do: up to Content-Length, never chunked. */
function readAnswer(raw: string): { head: string; json: unknown } {
  const [head = "", body = ""] = raw.split("\r\n\r\n");
  expect(head.toLowerCase()).not.toContain("transfer-encoding");
  const length = /content-length: (\d+)/i.exec(head)?.[1];
  expect(body.length).toBe(Number(length));
  expect(body).toMatch(/^[\x20-\x7e]*$/);
  return { head, json: JSON.parse(body) };
}

const complete = /\r\n\r\n\{.*\}$/s;
const derive = async (server: TestServer, payload: string): Promise<unknown> =>
  readAnswer(await server.raw(oldSdkRequest("/prpc/Tappd.DeriveKey", payload), complete)).json;

describe("FirstRequest", () => {
  const judge = (contentLength: number, body: string) =>
    new FirstRequest().add(Buffer.from(`POST / HTTP/1.1\r\nContent-Length: ${contentLength}\r\n\r\n${body}`));

  it("waits for the rest of a body with non-ASCII text, for no more than three bytes a unit", () => {
    expect(judge(11, '{"path":"ü')).toBe("rest_missing");
    expect(judge(11, `{"path":"ü${"x".repeat(22)}`)).toBe("rest_missing");
    expect(judge(11, `{"path":"ü${"x".repeat(23)}`)).toBe("as_it_is");
    expect(judge(10, '{"path":"x')).toBe("as_it_is");
    expect(judge(11, '{"path":"')).toBe("incomplete");
  });

  it("leaves heads alone that are not an old SDK's", () => {
    const head = (lines: string) =>
      new FirstRequest().add(Buffer.from(`POST / HTTP/1.1\r\n${lines}\r\n\r\n{"a":"ü`));
    expect(head("content-length: 7")).toBe("rest_missing");
    expect(head("content-length: 7\r\ncontent-length: 7")).toBe("as_it_is");
    expect(head("content-length: 7\r\ntransfer-encoding: chunked")).toBe("as_it_is");
    expect(head("content-length: +7")).toBe("as_it_is");
    expect(head("x: y")).toBe("as_it_is");
    expect(head("content-length: 1048577")).toBe("as_it_is");
    expect(new FirstRequest().add(Buffer.alloc(32 * 1024, "x"))).toBe("incomplete");
    expect(new FirstRequest().add(Buffer.alloc(32 * 1024 + 1, "x"))).toBe("as_it_is");
  });
});

describe("E11: a container that misbehaves", () => {
  it.each([
    ["in the head", "POST /prpc/Tappd.Info HTTP/1.1\r\nHost"],
    ["in the body", "POST /prpc/Tappd.Info HTTP/1.1\r\nContent-Length: 100\r\n\r\n{"],
    ["with bare line feeds", "POST /prpc/Tappd.Info HTTP/1.1\nContent-Length: 2\n\n{}"],
  ])("E11: cannot end the process by going away %s", async (_where, bytes) => {
    await using server = await serve([testTappd], guestSocket);
    // Ended and gone at once: what we answer then fails to be written. An unheard error would fail this test run.
    for (let round = 0; round < 20; round++) await server.abandon(bytes);
    expect(await derive(server, '{"path":"still here"}')).toMatchObject({ key: "still here|" });
  });
});

describe("wire.md: guest sockets", () => {
  it("answer pure ASCII JSON with Content-Length, never chunked", async () => {
    await using server = await serve([testKms()], guestSocket);
    const raw = await server.raw(oldSdkRequest("/prpc/KMS.GetMeta", "{}"), complete);
    expect(raw).toContain("gr\\u00fcn \\ud83d\\udd11");
    expect(readAnswer(raw).json).toMatchObject({ ca_cert: "grün 🔑" });
  });

  it("answer errors in the same form", async () => {
    await using server = await serve([testKms()], guestSocket);
    const raw = await server.raw(oldSdkRequest("/prpc/KMS.Nöpe", "{}"), complete);
    expect(readAnswer(raw).json).toHaveProperty("error");
  });

  it.each(["ü", "日本語", "🔑🔑", 'quote \\" and \\\\ and } ü', "\ud7ff"])(
    "read a body whose Content-Length was counted in UTF-16 units: %s",
    async (text) => {
      await using server = await serve([testTappd], guestSocket);
      const payload = `{"path":"${text}","subject":"s"}`;
      const { path } = JSON.parse(payload) as { path: string };
      expect(await derive(server, payload)).toMatchObject({ key: `${path}|s` });
    },
  );

  it("read it also when it arrives byte by byte", async () => {
    await using server = await serve([testTappd], guestSocket);
    const { createConnection } = await import("node:net");
    const bytes = Buffer.from(oldSdkRequest("/prpc/Tappd.DeriveKey", '{"path":"日本"}'));
    const answer = await new Promise<string>((resolve, reject) => {
      const socket = createConnection(server.listener.address);
      socket.setNoDelay(true).on("error", reject);
      let text = "";
      socket.on("data", (chunk: Buffer) => {
        text += chunk.toString("latin1");
        if (!complete.test(text)) return;
        socket.destroy();
        resolve(text);
      });
      const writeFrom = (index: number): void => {
        const next = bytes.subarray(index, index + 1);
        if (next.length > 0) socket.write(next, () => setImmediate(writeFrom, index + 1));
      };
      writeFrom(0);
    });
    expect(readAnswer(answer).json).toMatchObject({ key: "日本|" });
  });

  it("read a body counted rightly, and further requests on the same connection", async () => {
    await using server = await serve([testTappd], guestSocket);
    const request = (path: string): string => {
      const body = JSON.stringify({ path });
      return `POST /DeriveKey?json HTTP/1.1\r\nhost: x\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`;
    };
    const raw = await server.raw(Buffer.from(request("ü") + request("second") + request("日本")), /u672c/);
    expect(raw.match(/HTTP\/1.1 200/g)).toHaveLength(3);
    expect(raw).toContain('"\\u00fc|"');
    expect(raw).toContain('"second|"');
    const twice = await Promise.all(
      ["a", "ü"].map((path) => server.fetch("/DeriveKey?json", { body: `{"path":"${path}"}` })),
    );
    expect(twice.map(({ json }) => json)).toMatchObject([{ key: "a|" }, { key: "ü|" }]);
  });

  it("do not take bytes after a rightly counted body into it", async () => {
    await using server = await serve([testTappd], guestSocket);
    // 10 units are announced; the JSON of 10 bytes ends there, so what follows is another request.
    const smuggled = "GET /prpc/Tappd.Info HTTP/1.1\r\nhost: x\r\n\r\n";
    const raw = await server.raw(
      `POST /DeriveKey?json HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{"path":1}${smuggled}`,
      /tappd/,
    );
    expect(raw).toMatch(/^HTTP\/1.1 400/);
    expect(raw).toContain('"app_id":"tappd"');
  });

  it("give up on a body that stays incomplete", async () => {
    await using server = await serve([testTappd], guestSocket);
    const raw = await server.raw(oldSdkRequest("/DeriveKey", '{"path":"ü'), complete);
    expect(raw).toMatch(/^HTTP\/1.1 400/);
  });

  it("read the body as HTTP says where UTF-16 does not explain the length", async () => {
    await using server = await serve([testTappd], guestSocket);
    // 12 units, 13 bytes, 11 announced.
    const head = "POST /DeriveKey?json HTTP/1.1\r\nhost: x\r\ncontent-length: 11\r\n\r\n";
    const raw = await server.raw(Buffer.from(`${head}{"path":"ü"}`), /\}/);
    expect(raw).toMatch(/^HTTP\/1.1 400/);
    expect(raw).not.toContain("200 OK");
  });

  it("refuse a body over the limit", async () => {
    await using server = await serve([testTappd], guestSocket);
    const raw = await server.raw(
      "POST /DeriveKey?json HTTP/1.1\r\nhost: x\r\ncontent-length: 99999999\r\n\r\n{",
      /\}/,
    );
    expect(raw).toMatch(/^HTTP\/1.1 413/);
  });

  it("answer GET and bodies that are not JSON as ever", async () => {
    await using server = await serve([testTappd], guestSocket);
    expect((await server.fetch("/Info", { method: "GET" })).json).toMatchObject({ app_id: "tappd" });
    expect((await server.fetch("/Info", { body: Buffer.from("ff", "hex") })).status).toBe(400);
    expect((await server.fetch("/Info")).status).toBe(200);
  });

  it("survive callers that go away at any moment", async () => {
    await using server = await serve([testTappd], guestSocket);
    const { createConnection } = await import("node:net");
    for (const bytes of ["", "POST", oldSdkRequest("/DeriveKey", '{"path":"ü').slice(0, -3)]) {
      await new Promise((resolve) => {
        const socket = createConnection(server.listener.address, () => socket.end(bytes));
        socket
          .on("error", () => {})
          .on("close", resolve)
          .resume();
      });
    }
    expect((await server.fetch("/Info")).status).toBe(200);
  });
});
