import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { ProtoErrorSchema, kms, tappd } from "@dstack/proto";
import { createLogger } from "@dstack/daemon";
import { describe, expect, it } from "vitest";
import { MIB, serve, testKms, testTappd, testTeepod } from "./listener.js";

const JSON_TYPE = { "content-type": "application/json" };
const envKeyRequest = (appId: string): Uint8Array =>
  toBinary(kms.AppIdSchema, create(kms.AppIdSchema, { appId }));

describe("wire.md: path", () => {
  it("is /prpc/<Service>.<Method>", async () => {
    await using server = await serve([testKms(), testTappd]);
    expect((await server.fetch("/prpc/KMS.GetMeta")).status).toBe(200);
    expect((await server.fetch("/prpc/Tappd.Info")).status).toBe(200);
    expect((await server.fetch("/KMS.GetMeta")).status).toBe(404);
  });

  it("is also /prpc/<Method> where the listener serves one service, and only there", async () => {
    await using one = await serve([testKms()]);
    expect((await one.fetch("/prpc/GetMeta")).status).toBe(200);
    expect((await one.fetch("/GetMeta")).status).toBe(404);
    await using two = await serve([testKms(), testTappd]);
    expect((await two.fetch("/prpc/GetMeta")).status).toBe(404);
  });

  it("is /<Method> and /prpc/<Method> on guest sockets; the first service has a shared name", async () => {
    await using server = await serve([testTappd, testKms()], { bareMethods: true });
    expect((await server.fetch("/Info?json")).json).toMatchObject({ app_id: "tappd" });
    expect((await server.fetch("/prpc/Info?json")).json).toMatchObject({ app_id: "tappd" });
    expect((await server.fetch("/GetMeta?json")).status).toBe(200);
  });

  it("takes aliases of methods", async () => {
    await using server = await serve([testTeepod()]);
    const answer = await server.fetch("/prpc/Teepod.CreateVM?json", { body: '{"name":"hello"}' });
    expect(answer.json).toEqual({ id: "hello" });
    expect((await server.fetch("/prpc/Teepod.ListVms?json")).json).toMatchObject({
      port_mapping_enabled: false,
    });
  });
});

describe("wire.md: binary call", () => {
  it("is a POST of the protobuf request, answered by the protobuf response", async () => {
    await using server = await serve([testKms()]);
    for (const headers of [
      {},
      { "content-type": "application/octet-stream" },
      { "content-type": "strange" },
    ]) {
      const answer = await server.fetch("/prpc/KMS.GetAppEnvEncryptPubKey", {
        body: envKeyRequest("abc"),
        headers,
      });
      expect(answer.status).toBe(200);
      expect(answer.headers["content-type"]).toBe("application/octet-stream");
      const { publicKey } = fromBinary(kms.PublicKeyResponseSchema, answer.bytes);
      expect(Buffer.from(publicKey).toString()).toBe("abc");
    }
  });

  it("answers 400 to a body that is no such message", async () => {
    await using server = await serve([testKms()]);
    const answer = await server.fetch("/prpc/KMS.GetAppEnvEncryptPubKey", {
      body: Buffer.from("ffffff", "hex"),
    });
    expect(answer.status).toBe(400);
    expect(fromBinary(ProtoErrorSchema, answer.bytes).message).toBe(
      "request body is not a valid AppId message",
    );
  });
});

describe("wire.md: JSON call", () => {
  it("is asked for by ?json in the query, whatever its form", async () => {
    await using server = await serve([testKms()]);
    for (const query of ["?json", "?json=1", "?json=true", "?x=1&json"]) {
      const answer = await server.fetch(`/prpc/KMS.GetAppEnvEncryptPubKey${query}`, {
        body: '{"app_id":"k"}',
      });
      expect(answer.headers["content-type"]).toBe("application/json");
      expect(answer.text).toBe('{"public_key":"6b","root_signature":""}');
    }
  });

  it("is asked for by the content type, with parameters or without", async () => {
    await using server = await serve([testKms()]);
    for (const type of [
      "application/json",
      "application/json; charset=utf-8",
      "Application/JSON;charset=utf-8",
    ]) {
      const headers = { "content-type": type };
      const answer = await server.fetch("/prpc/KMS.GetAppEnvEncryptPubKey", {
        body: '{"app_id":"k"}',
        headers,
      });
      expect(answer.text).toBe('{"public_key":"6b","root_signature":""}');
    }
  });

  it("curl -d labels its body as a form; with ?json it is still JSON", async () => {
    await using server = await serve([testTappd]);
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    const body = '{"report_data": "0x1234deadbeef"}';
    const answer = await server.fetch("/prpc/Tappd.TdxQuote?json", { body, headers });
    expect(answer.json).toEqual({ quote: "1234deadbeef", event_log: "" });
  });

  it("answers 400 to text that is not JSON or not UTF-8", async () => {
    await using server = await serve([testKms()]);
    const call = (body: string | Buffer) => server.fetch("/prpc/KMS.GetMeta?json", { body });
    expect(await call("{")).toMatchObject({ status: 400, json: { error: "request body is not valid JSON" } });
    expect(await call(Buffer.from([0x22, 0xff, 0x22]))).toMatchObject({
      status: 400,
      json: { error: "request body is not valid UTF-8" },
    });
    expect(await call("[]")).toMatchObject({ status: 400, json: { error: "request must be a JSON object" } });
  });
});

describe("wire.md: GET call", () => {
  it("answers JSON, without parameters to the empty request", async () => {
    await using server = await serve([testTappd]);
    const answer = await server.fetch("/prpc/Tappd.DeriveKey", { method: "GET" });
    expect(answer.headers["content-type"]).toBe("application/json");
    expect(answer.json).toEqual({ key: "|", certificate_chain: [] });
  });

  it("takes the request's scalar fields from the query", async () => {
    await using server = await serve([testTappd, testTeepod()]);
    const get = (target: string) => server.fetch(target, { method: "GET" });
    expect((await get("/prpc/Tappd.RawQuote?report_data=00ff&unknown=1")).json).toMatchObject({
      quote: "00ff",
    });
    expect(
      (await get("/prpc/Tappd.DeriveKey?path=a%20b&subject=%C3%BC&alt_names=x&alt_names=y")).json,
    ).toEqual({
      key: "a b|ü",
      certificate_chain: ["x", "y"],
    });
    expect(await get("/prpc/Tappd.RawQuote?report_data=0")).toMatchObject({
      status: 400,
      json: { error: "report_data must be hex with an even number of digits" },
    });
    expect(await get("/prpc/Tappd.RawQuote?report_data=00&report_data=01")).toMatchObject({ status: 400 });
    expect(await get("/prpc/Teepod.CreateVm?ports=1")).toMatchObject({ status: 400 });
  });
});

describe("wire.md: empty body", () => {
  it("is the empty request in both encodings", async () => {
    await using server = await serve([testTappd]);
    const binary = await server.fetch("/prpc/Tappd.DeriveKey");
    expect(fromBinary(tappd.DeriveKeyResponseSchema, binary.bytes).key).toBe("|");
    for (const headers of [{}, JSON_TYPE]) {
      const json = await server.fetch("/prpc/Tappd.DeriveKey?json", { headers });
      expect(json.json).toEqual({ key: "|", certificate_chain: [] });
    }
    const emptyChunks =
      "POST /prpc/Tappd.DeriveKey?json HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    expect(await server.raw(emptyChunks, /\}/)).toContain('{"key":"|","certificate_chain":[]}');
  });
});

describe("wire.md: errors", () => {
  const cases = [
    ["input", 400, "app id must be 40 lower-case hex digits"],
    ["unauthenticated", 401, "who are you"],
    ["denied", 403, "quote: signature is wrong"],
    ["many", 429, "slow down"],
  ] as const;

  it.each(cases)("%s: status %i and the message, in JSON and in protobuf", async (appId, status, message) => {
    await using server = await serve([testKms()]);
    const path = "/prpc/KMS.GetAppEnvEncryptPubKey";
    const json = await server.fetch(`${path}?json`, { body: JSON.stringify({ app_id: appId }) });
    expect(json).toMatchObject({ status, text: JSON.stringify({ error: message }) });
    expect(json.headers["content-type"]).toBe("application/json");
    const binary = await server.fetch(path, { body: envKeyRequest(appId) });
    expect(binary.status).toBe(status);
    expect(fromBinary(ProtoErrorSchema, binary.bytes).message).toBe(message);
    expect((await server.fetch(`${path}?app_id=${appId}`, { method: "GET" })).json).toEqual({
      error: message,
    });
  });

  it("too many requests say when to come back", async () => {
    await using server = await serve([testKms()]);
    const answer = await server.fetch("/prpc/KMS.GetAppEnvEncryptPubKey?json", { body: '{"app_id":"many"}' });
    expect(answer.headers["retry-after"]).toBe("7");
  });

  it("an unknown method is a 404 in the caller's encoding", async () => {
    await using server = await serve([testKms()]);
    const json = await server.fetch("/prpc/KMS.Nope?json", { body: "{}" });
    expect(json).toMatchObject({ status: 404, json: { error: "unknown method KMS.Nope" } });
    const binary = await server.fetch("/prpc/KMS.Nope", { body: Buffer.from("ff", "hex") });
    expect(binary.status).toBe(404);
    expect(fromBinary(ProtoErrorSchema, binary.bytes).message).toBe("unknown method KMS.Nope");
    expect((await server.fetch("/prpc/KMS.constructor?json")).status).toBe(404);
  });

  it("our fault is a 500 that says nothing but a request id; the cause is in the log under that id", async () => {
    const lines: string[] = [];
    const { createLogger } = await import("@dstack/daemon");
    const log = createLogger({ name: "test", destination: { write: (line) => void lines.push(line) } });
    await using server = await serve([testKms()], {}, { log });
    const answer = await server.fetch("/prpc/KMS.GetAppEnvEncryptPubKey?json", {
      body: '{"app_id":"secret"}',
    });
    const id = String(answer.headers["x-request-id"]);
    expect(id).toMatch(/^[0-9a-f]{16}$/);
    expect(answer).toMatchObject({ status: 500, json: { error: `internal error (request ${id})` } });
    const logged = lines.map((line) => JSON.parse(line) as { reqId?: string; err?: { message: string } });
    expect(logged.find(({ reqId }) => reqId === id)?.err?.message).toContain("hunter2");
  });

  it("the request id is never the caller's", async () => {
    await using server = await serve([testKms()]);
    const answer = await server.fetch("/prpc/KMS.GetMeta", {
      headers: { "request-id": "mine", "x-request-id": "mine" },
    });
    expect(answer.headers["x-request-id"]).not.toBe("mine");
  });
});

describe("wire.md: limits", () => {
  it("refuses a body over 10 MiB with 413 in the caller's encoding", async () => {
    await using server = await serve([testTappd]);
    const big = Buffer.alloc(10 * MIB + 1, 0x20);
    const announced = await server.fetch("/prpc/Tappd.TdxQuote?json", { body: big });
    expect(announced).toMatchObject({ status: 413, json: { error: "request body is too large" } });
    const fits = await server.fetch("/prpc/Tappd.TdxQuote?json", { body: big.subarray(1) });
    expect(fits.status).toBe(200);
  });

  it("has a limit per method, above and below the default", async () => {
    const limits = { GetMeta: 10, GetAppKey: 11 * MIB };
    await using server = await serve([testKms({ bodyLimits: limits })]);
    const call = (method: string, length: number) =>
      server.fetch(`/prpc/KMS.${method}?json`, { body: Buffer.alloc(length, 0x20) });
    expect((await call("GetMeta", 10)).status).toBe(200);
    expect((await call("GetMeta", 11)).status).toBe(413);
    expect((await call("GetAppKey", 11 * MIB)).status).toBe(200);
  });

  it("counts a streamed body too", async () => {
    await using server = await serve([testKms({ bodyLimits: { GetMeta: 10 } })]);
    const head = "POST /prpc/KMS.GetMeta HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    const answer = await server.raw(`${head}8\r\n        \r\n8\r\n        \r\n0\r\n\r\n`);
    expect(answer).toMatch(/^HTTP\/1.1 413/);
    expect(answer).toContain("request body is too large");
  });

  it("cuts off a client that sends its headers too slowly", async () => {
    await using server = await serve([testKms()], {}, { limits: { headersMs: 100, checkMs: 20 } });
    const answer = await server.raw("POST /prpc/KMS.GetMeta HTTP/1.1\r\nhost: x\r\nx-slow: ");
    expect(answer).toMatch(/^HTTP\/1.1 408/);
    expect(answer).toContain('{"error":"the request was sent too slowly"}');
  });

  it("cuts off a client that sends its body too slowly", async () => {
    await using server = await serve(
      [testKms()],
      {},
      { limits: { headersMs: 100, requestMs: 150, checkMs: 20 } },
    );
    const answer = await server.raw(
      "POST /prpc/KMS.GetMeta?json HTTP/1.1\r\nhost: x\r\ncontent-length: 10\r\n\r\n{",
    );
    expect(answer).toMatch(/^HTTP\/1.1 408/);
  });
});

describe("guards", () => {
  it("refuse before the body is read", async () => {
    const { RpcError } = await import("../src/index.js");
    const asked: string[] = [];
    const guard = (method: string): void => {
      asked.push(method);
      throw new RpcError("unauthenticated", "no");
    };
    await using server = await serve([testKms({ guard, aliases: { Key: "GetAppKey" } })]);
    // The announced body never comes; the answer does.
    const announced = "POST /prpc/KMS.Key?json HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\n";
    const answer = await server.raw(announced);
    expect(answer).toMatch(/^HTTP\/1.1 401/);
    expect(answer.toLowerCase()).toContain("connection: close");
    expect(answer).toContain('{"error":"no"}');
    expect(asked).toEqual(["GetAppKey"]);
  });
});

describe("a call", () => {
  it("aborts its signal when the caller goes away", async () => {
    let aborted: (reason: unknown) => void = () => {};
    const gone = new Promise((resolve) => (aborted = resolve));
    let started: () => void = () => {};
    const running = new Promise<void>((resolve) => (started = resolve));
    const onCall = ({ signal }: { signal: AbortSignal }): Promise<void> => {
      started();
      return new Promise((_, reject) => {
        signal.addEventListener("abort", () => {
          aborted(signal.reason);
          reject(new Error("aborted"));
        });
      });
    };
    await using server = await serve([testKms({ onCall })]);
    const stop = new AbortController();
    const call = server.fetch("/prpc/KMS.GetAppKey", { signal: stop.signal });
    await running;
    stop.abort();
    await expect(call).rejects.toThrow();
    expect(await gone).toMatchObject({ message: "the caller went away" });
  });
});

describe("the log", () => {
  it("names refused calls; answered ones, which are many, only at level debug", async () => {
    const logOf = async (level: "info" | "debug"): Promise<string> => {
      let lines = "";
      const destination = { write: (line: string) => void (lines += line) };
      const log = createLogger({ name: "test", level, destination });
      await using server = await serve([testKms()], {}, { log });
      await server.fetch("/prpc/KMS.GetMeta");
      await server.fetch("/prpc/KMS.GetAppEnvEncryptPubKey?json", { body: '{"app_id":"denied"}' });
      return lines;
    };
    const info = await logOf("info");
    expect(info).toContain("rpc refused");
    expect(info).not.toContain("rpc answered");
    expect(await logOf("debug")).toContain("rpc answered");
  });
});
