import type { DescFile, DescService } from "@bufbuild/protobuf";
import { toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema } from "@bufbuild/protobuf/wkt";
import { status } from "@grpc/grpc-js";
import type { Server, handleBidiStreamingCall } from "@grpc/grpc-js";
import {
  ServerReflection as ReflectionV1,
  ServerReflectionRequestSchema,
  ServerReflectionResponseSchema,
} from "../gen/grpc/reflection/v1/reflection_pb.js";
import type {
  ServerReflectionRequest,
  ServerReflectionResponse,
} from "../gen/grpc/reflection/v1/reflection_pb.js";
import { ServerReflection as ReflectionV1Alpha } from "../gen/grpc/reflection/v1alpha/reflection_pb.js";
import { errorMessage } from "@dstack/core";
import { decode, encode, rawDefinition } from "./definition.js";

type Answer = ServerReflectionResponse["messageResponse"];

const notFound = (what: string): Answer => ({
  case: "errorResponse",
  value: {
    $typeName: "grpc.reflection.v1.ErrorResponse",
    errorCode: status.NOT_FOUND,
    errorMessage: `${what} not found`,
  },
});

function withDependencies(file: DescFile, seen = new Set<DescFile>()): Set<DescFile> {
  if (seen.has(file)) return seen;
  seen.add(file);
  for (const dependency of file.dependencies) withDependencies(dependency, seen);
  return seen;
}

/** What can be asked about, from the descriptors of some services. */
class Catalogue {
  readonly #services: string[];
  readonly #byFileName = new Map<string, DescFile>();
  readonly #bySymbol = new Map<string, DescFile>();

  constructor(services: readonly DescService[]) {
    this.#services = services.map((service) => service.typeName);
    for (const { file } of services) {
      for (const known of withDependencies(file)) this.#add(known);
    }
  }

  #add(file: DescFile): void {
    this.#byFileName.set(`${file.name}.proto`, file);
    for (const { typeName } of [...file.messages, ...file.enums]) this.#bySymbol.set(typeName, file);
    for (const service of file.services) {
      this.#bySymbol.set(service.typeName, file);
      for (const method of service.methods) this.#bySymbol.set(`${service.typeName}.${method.name}`, file);
    }
  }

  #describe(file: DescFile | undefined, what: string): Answer {
    if (file === undefined) return notFound(what);
    const files = [...withDependencies(file)];
    return {
      case: "fileDescriptorResponse",
      value: {
        $typeName: "grpc.reflection.v1.FileDescriptorResponse",
        fileDescriptorProto: files.map((each) => toBinary(FileDescriptorProtoSchema, each.proto)),
      },
    };
  }

  answer(request: ServerReflectionRequest): Answer {
    const { case: kind, value } = request.messageRequest;
    if (kind === "fileByFilename") return this.#describe(this.#byFileName.get(value), value);
    if (kind === "fileContainingSymbol") return this.#describe(this.#bySymbol.get(value), value);
    if (kind === "listServices") {
      return {
        case: "listServicesResponse",
        value: {
          $typeName: "grpc.reflection.v1.ListServiceResponse",
          service: this.#services.map((name) => ({ $typeName: "grpc.reflection.v1.ServiceResponse", name })),
        },
      };
    }
    // proto3 has no extensions.
    return notFound("extension");
  }
}

/** The standard reflection service, v1 and v1alpha (the same messages under two names), so that grpcurl needs no files. */
export function addReflectionService(server: Server, services: readonly DescService[]): void {
  const catalogue = new Catalogue(services);
  const info: handleBidiStreamingCall<Buffer, Buffer> = (call) => {
    call.on("data", (body: Buffer) => {
      try {
        const originalRequest = decode(ServerReflectionRequestSchema, body);
        const messageResponse = catalogue.answer(originalRequest);
        const validHost = originalRequest.host;
        call.write(encode(ServerReflectionResponseSchema, { validHost, originalRequest, messageResponse }));
      } catch (err) {
        call.emit("error", { code: status.INVALID_ARGUMENT, details: errorMessage(err) });
      }
    });
    call.on("end", () => call.end());
  };
  server.addService(rawDefinition(ReflectionV1), { ServerReflectionInfo: info });
  server.addService(rawDefinition(ReflectionV1Alpha), { ServerReflectionInfo: info });
}
