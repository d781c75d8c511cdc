import { once } from "node:events";
import { connect as http2Connect } from "node:http2";
import {
  Client,
  type ServerDuplexStream,
  Server,
  ServerCredentials,
  Metadata,
  credentials,
  status,
} from "@grpc/grpc-js";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PublicServer } from "../src/proxy/server.js";
import { DOMAIN, startProxy, tlsConnect } from "./support.js";

const bytes = (value: Buffer): Buffer => value;
const method = {
  path: "/test.Echo/Chat",
  requestStream: true as const,
  responseStream: true as const,
  requestSerialize: bytes,
  requestDeserialize: bytes,
  responseSerialize: bytes,
  responseDeserialize: bytes,
};

/** Answers each message with itself; "fail" ends the call with an error and a trailer. */
function chat(call: ServerDuplexStream<Buffer, Buffer>): void {
  call.on("data", (message: Buffer) => {
    if (message.toString() !== "fail") {
      call.write(message);
      return;
    }
    const metadata = new Metadata();
    metadata.set("x-why", "asked for");
    call.emit("error", { code: status.FAILED_PRECONDITION, details: "as you wish", metadata });
  });
  call.on("end", () => call.end());
}

describe("gRPC", () => {
  const app = new Server();
  let port = 0;
  let proxy: PublicServer;
  let client: Client;
  beforeAll(async () => {
    app.addService({ chat: method }, { chat });
    port = await new Promise<number>((resolve, reject) => {
      app.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (err, got) =>
        err === null ? resolve(got) : reject(err),
      );
    });
    proxy = await startProxy(`grpc://127.0.0.1:${port}`);
    const pem = (await tlsConnect(proxy.port)).getPeerX509Certificate()?.toString() ?? "";
    client = new Client(`127.0.0.1:${proxy.port}`, credentials.createSsl(Buffer.from(pem)), {
      "grpc.ssl_target_name_override": DOMAIN,
      "grpc.default_authority": DOMAIN,
    });
  });
  afterAll(async () => {
    client.close();
    app.forceShutdown();
    await proxy[Symbol.asyncDispose]();
  });
  const open = () => client.makeBidiStreamRequest(method.path, bytes, bytes);

  it("carries a call both ways, message by message, and its status", async () => {
    const call = open();
    for (const message of ["one", "two"]) {
      call.write(Buffer.from(message));
      const [got] = (await once(call, "data")) as [Buffer];
      expect(got.toString()).toBe(message);
    }
    call.end();
    call.resume();
    const [ended] = (await once(call, "status")) as [{ code: number }];
    expect(ended.code).toBe(status.OK);
  });

  it("carries an error with its trailers, after messages and without any", async () => {
    for (const messages of [["one", "fail"], ["fail"]]) {
      const call = open();
      call.resume();
      for (const message of messages) call.write(Buffer.from(message));
      const [err] = await new Promise<[{ code: number; details: string; metadata: Metadata }]>((resolve) => {
        call.once("error", (...args) => resolve(args as never));
      });
      expect(err).toMatchObject({ code: status.FAILED_PRECONDITION, details: "as you wish" });
      expect(err.metadata.get("x-why")).toEqual(["asked for"]);
    }
  });

  it("tells the app that a call was given up", async () => {
    let cancelled: Promise<unknown> = Promise.resolve();
    const other = new Server();
    other.addService(
      { chat: method },
      {
        chat: (call: ServerDuplexStream<Buffer, Buffer>) => {
          cancelled = once(call, "cancelled");
          call.write(Buffer.from("begun"));
        },
      },
    );
    const otherPort = await new Promise<number>((resolve) => {
      other.bindAsync("127.0.0.1:0", ServerCredentials.createInsecure(), (_, got) => resolve(got));
    });
    await using second = await startProxy(`grpc://127.0.0.1:${otherPort}`);
    const session = http2Connect(`https://${DOMAIN}:${second.port}`, {
      host: "127.0.0.1",
      servername: DOMAIN,
      rejectUnauthorized: false,
    });
    const headers = { "content-type": "application/grpc", te: "trailers" };
    const stream = session.request({
      ":method": "POST",
      ":path": method.path,
      ":authority": DOMAIN,
      ...headers,
    });
    await once(stream, "data");
    stream.close(8);
    await cancelled;
    session.destroy();
    other.forceShutdown();
  });

  it("says 502 when the app is not there, each time it is asked", async () => {
    await using lonely = await startProxy("grpc://127.0.0.1:1");
    const session = http2Connect(`https://${DOMAIN}:${lonely.port}`, {
      host: "127.0.0.1",
      servername: DOMAIN,
      rejectUnauthorized: false,
    });
    for (let i = 0; i < 2; i++) {
      const stream = session.request({ ":method": "POST", ":path": method.path, ":authority": DOMAIN });
      const [answer] = (await once(stream, "response")) as [{ ":status": number }];
      expect(answer[":status"]).toBe(502);
    }
    session.destroy();
  });
});
