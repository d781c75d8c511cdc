import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { EmptySchema, kms } from "@dstack/proto";
import { Client, credentials, status } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import type { ServerIdentity } from "../src/index.js";
import { appIdOf, ca, dial, guest, listen, plainClient } from "./site.js";

/** GetAppKey as any gRPC client calls it. */
async function getAppKey(port: number, identity?: ServerIdentity): Promise<string> {
  const key = identity === undefined ? null : Buffer.from(identity.key);
  const chain = identity === undefined ? null : Buffer.from(identity.certChain);
  const client = new Client(`127.0.0.1:${port}`, credentials.createSsl(Buffer.from(ca.certPem), key, chain));
  try {
    return await new Promise((resolve, reject) => {
      client.makeUnaryRequest(
        "/kms.KMS/GetAppKey",
        () => Buffer.from(toBinary(EmptySchema, create(EmptySchema))),
        (bytes) => fromBinary(kms.AppKeyResponseSchema, bytes).appKey,
        {},
        (err, answer) =>
          err === null && answer !== undefined ? resolve(answer) : reject(err ?? new Error("empty")),
      );
    });
  } finally {
    client.close();
  }
}

async function portOf(server: { grpcPort: number | undefined }): Promise<number> {
  if (server.grpcPort === undefined) throw new Error("gRPC is not served");
  return server.grpcPort;
}

describe("wire.md: gRPC with the same certificates and handlers", () => {
  it("is off unless configured", async () => {
    await using server = await listen();
    expect(server.grpcPort).toBeUndefined();
  });

  it("knows its callers by their evidence, each by its own", async () => {
    await using server = await listen({ grpcPort: 0 });
    const port = await portOf(server);
    const apps = ["one", "two", "three", "four"];
    const answers = await Promise.all(apps.map(async (app) => getAppKey(port, await guest(app))));
    expect(answers).toEqual(apps.map(appIdOf));
  });

  it("K1: refuses callers without a certificate, without evidence and with evidence for another key", async () => {
    await using server = await listen({ grpcPort: 0 });
    const port = await portOf(server);
    const code = status.UNAUTHENTICATED;
    await expect(getAppKey(port)).rejects.toMatchObject({
      code,
      details: expect.stringContaining("required") as string,
    });
    await expect(getAppKey(port, await plainClient())).rejects.toMatchObject({ code });
    await expect(getAppKey(port, await guest("app", { otherKey: true }))).rejects.toMatchObject({
      code: status.PERMISSION_DENIED,
      details: expect.stringContaining("evidence refused") as string,
    });
  });

  it("is TLS 1.3 only", async () => {
    await using server = await listen({ grpcPort: 0 });
    const port = await portOf(server);
    await expect(dial(port, { maxVersion: "TLSv1.2", ALPNProtocols: ["h2"] })).rejects.toThrow(
      /protocol version/i,
    );
  });
});
