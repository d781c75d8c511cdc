import type {
  DescMessage,
  DescMethod,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import type { MethodDefinition, ServiceDefinition } from "@grpc/grpc-js";

/** A message as grpc-js hands it over: the bytes, so that decoding happens under our limits and errors. */
type Raw = Buffer;

export function methodPath(service: DescService, name: string): string {
  return `/${service.typeName}/${name}`;
}

/** Bodies stay bytes on both sides. */
export function rawMethod(
  service: DescService,
  name: string,
  kind: DescMethod["methodKind"],
): MethodDefinition<Raw, Raw> {
  const same = (bytes: Raw): Raw => bytes;
  return {
    path: methodPath(service, name),
    requestStream: kind === "client_streaming" || kind === "bidi_streaming",
    responseStream: kind === "server_streaming" || kind === "bidi_streaming",
    requestSerialize: same,
    requestDeserialize: same,
    responseSerialize: same,
    responseDeserialize: same,
  };
}

/** Every method of a service by its name in the .proto file. */
export function rawDefinition(service: DescService): ServiceDefinition {
  return Object.fromEntries(
    service.methods.map((method) => [method.name, rawMethod(service, method.name, method.methodKind)]),
  );
}

export function decode<D extends DescMessage>(schema: D, bytes: Uint8Array): MessageShape<D> {
  return fromBinary(schema, bytes);
}

export function encode<D extends DescMessage>(schema: D, message: MessageInitShape<D>): Raw {
  return Buffer.from(toBinary(schema, create(schema, message)));
}
