import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { DescMessage, DescMethod, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { silentLogger } from "@dstack/daemon";
import { kms, teepod } from "@dstack/proto";
import { Client, credentials, status } from "@grpc/grpc-js";
import { describe, expect, it } from "vitest";
import { Health, HealthCheckResponse_ServingStatus } from "../src/gen/grpc/health/v1/health_pb.js";
import { ServerReflection } from "../src/gen/grpc/reflection/v1/reflection_pb.js";
import { ServerReflection as ReflectionV1Alpha } from "../src/gen/grpc/reflection/v1alpha/reflection_pb.js";
import { RpcError, serveGrpc } from "../src/index.js";
import type { ServiceImpl } from "../src/index.js";
import { testKms, testTeepod } from "./listener.js";

const log = silentLogger();

/** A real grpc-js client that speaks our generated messages. */
class GrpcClient implements Disposable {
  readonly #client: Client;

  constructor(port: number) {
    this.#client = new Client(`127.0.0.1:${port}`, credentials.createInsecure());
  }

  unary<I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { input: I; output: O },
    request: MessageInitShape<I>,
    path = `/${method.parent.typeName}/${method.name}`,
  ): Promise<MessageShape<O>> {
    return new Promise((resolve, reject) => {
      this.#client.makeUnaryRequest(
        path,
        (message: MessageShape<I>) => Buffer.from(toBinary(method.input, message)),
        (bytes) => fromBinary(method.output, bytes),
        create(method.input, request),
        (err, answer) =>
          err === null && answer !== undefined ? resolve(answer) : reject(err ?? new Error("no answer")),
      );
    });
  }

  stream<I extends DescMessage, O extends DescMessage>(
    method: DescMethod & { input: I; output: O },
    requests: MessageInitShape<I>[],
  ): Promise<MessageShape<O>[]> {
    const call = this.#client.makeBidiStreamRequest(
      `/${method.parent.typeName}/${method.name}`,
      (message: MessageShape<I>) => Buffer.from(toBinary(method.input, message)),
      (bytes) => fromBinary(method.output, bytes),
    );
    const answers: MessageShape<O>[] = [];
    for (const request of requests) call.write(create(method.input, request));
    call.end();
    return new Promise((resolve, reject) => {
      call.on("data", (answer: MessageShape<O>) => answers.push(answer));
      call.on("error", reject);
      call.on("end", () => resolve(answers));
    });
  }

  [Symbol.dispose](): void {
    this.#client.close();
  }
}

const listen = (services: readonly ServiceImpl[]) => serveGrpc({ services, host: "127.0.0.1", port: 0, log });

describe("wire.md: gRPC", () => {
  it("serves the same handlers, aliases included", async () => {
    await using server = await listen([testKms(), testTeepod()]);
    using client = new GrpcClient(server.port);
    expect((await client.unary(kms.KMS.method.getMeta, {})).caCert).toBe("grün 🔑");
    const { createVm } = teepod.Teepod.method;
    expect(await client.unary(createVm, { name: "a" })).toMatchObject({ id: "a" });
    expect(await client.unary(createVm, { name: "b" }, "/teepod.Teepod/CreateVM")).toMatchObject({ id: "b" });
  });

  it.each([
    ["input", status.INVALID_ARGUMENT, "app id must be 40 lower-case hex digits"],
    ["unauthenticated", status.UNAUTHENTICATED, "who are you"],
    ["denied", status.PERMISSION_DENIED, "quote: signature is wrong"],
    ["many", status.RESOURCE_EXHAUSTED, "slow down"],
  ])("%s is the status %i with the message", async (appId, code, details) => {
    await using server = await listen([testKms()]);
    using client = new GrpcClient(server.port);
    const call = client.unary(kms.KMS.method.getAppEnvEncryptPubKey, { appId });
    await expect(call).rejects.toMatchObject({ code, details });
  });

  it("says nothing about our own faults, and UNIMPLEMENTED to an unknown method", async () => {
    await using server = await listen([testKms()]);
    using client = new GrpcClient(server.port);
    const { getAppEnvEncryptPubKey, getMeta } = kms.KMS.method;
    await expect(client.unary(getAppEnvEncryptPubKey, { appId: "secret" })).rejects.toMatchObject({
      code: status.INTERNAL,
      details: expect.stringMatching(/^internal error \(request [0-9a-f]{16}\)$/) as string,
    });
    await expect(client.unary(getMeta, {}, "/kms.KMS/Nope")).rejects.toMatchObject({
      code: status.UNIMPLEMENTED,
    });
  });

  it("runs guards, and enforces the limit of a method", async () => {
    const guard = (method: string): void => {
      if (method === "GetAppKey") throw new RpcError("unauthenticated", "no");
    };
    await using server = await listen([testKms({ guard, bodyLimits: { GetAppEnvEncryptPubKey: 100 } })]);
    using client = new GrpcClient(server.port);
    await expect(client.unary(kms.KMS.method.getAppKey, {})).rejects.toMatchObject({
      code: status.UNAUTHENTICATED,
      details: "no",
    });
    const appId = "a".repeat(98);
    await client.unary(kms.KMS.method.getAppEnvEncryptPubKey, { appId });
    await expect(
      client.unary(kms.KMS.method.getAppEnvEncryptPubKey, { appId: `${appId}a` }),
    ).rejects.toMatchObject({
      code: status.RESOURCE_EXHAUSTED,
    });
  });

  it("has the standard health service", async () => {
    await using server = await listen([testKms()]);
    using client = new GrpcClient(server.port);
    const { SERVING } = HealthCheckResponse_ServingStatus;
    for (const service of ["", "kms.KMS"]) {
      expect((await client.unary(Health.method.check, { service })).status).toBe(SERVING);
    }
    await expect(client.unary(Health.method.check, { service: "nope" })).rejects.toMatchObject({
      code: status.NOT_FOUND,
    });
  });

  it.each([ServerReflection, ReflectionV1Alpha as unknown as typeof ServerReflection])(
    "has server reflection ($typeName)",
    async (reflection) => {
      await using server = await listen([testKms(), testTeepod()]);
      using client = new GrpcClient(server.port);
      const [services, file, method, byName, unknown] = await client.stream(
        reflection.method.serverReflectionInfo,
        [
          { messageRequest: { case: "listServices", value: "" } },
          { messageRequest: { case: "fileContainingSymbol", value: "kms.KMS" } },
          { messageRequest: { case: "fileContainingSymbol", value: "teepod.Teepod.CreateVm" } },
          { messageRequest: { case: "fileByFilename", value: "google/protobuf/empty.proto" } },
          { messageRequest: { case: "fileContainingSymbol", value: "nope.Nope" } },
        ],
      );
      expect(services?.messageResponse.value).toMatchObject({
        service: [{ name: "kms.KMS" }, { name: "teepod.Teepod" }],
      });
      const names = [file, method, byName].map((answer) => {
        if (answer?.messageResponse.case !== "fileDescriptorResponse") throw new Error("no descriptor");
        return answer.messageResponse.value.fileDescriptorProto.map(
          (it) => fromBinary(FileDescriptorProtoSchema, it).name,
        );
      });
      expect(names).toEqual([
        ["kms.proto", "google/protobuf/empty.proto"],
        ["teepod.proto", "google/protobuf/empty.proto"],
        ["google/protobuf/empty.proto"],
      ]);
      expect(unknown?.messageResponse).toMatchObject({
        case: "errorResponse",
        value: { errorCode: status.NOT_FOUND },
      });
    },
  );

  it("closes while connections are open", async () => {
    const server = await listen([testKms()]);
    using client = new GrpcClient(server.port);
    await client.unary(kms.KMS.method.getMeta, {});
    await server[Symbol.asyncDispose]();
    await expect(client.unary(kms.KMS.method.getMeta, {})).rejects.toMatchObject({
      code: status.UNAVAILABLE,
    });
  });
});
