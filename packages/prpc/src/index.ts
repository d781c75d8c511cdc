export { implement } from "./service.js";
export type {
  Admission,
  Call,
  Handler,
  Handlers,
  ImplementOptions,
  MethodImpl,
  ServiceImpl,
  TlsSession,
} from "./service.js";
export { mountPrpc } from "./mount.js";
export type { MountOptions } from "./mount.js";
export { createClient } from "./client.js";
export type { CallOptions, Client, Transport } from "./client.js";
export { httpTransport, unixTransport } from "./http-transport.js";
export type { HttpTransportOptions } from "./http-transport.js";
export { RpcError, toRpcError } from "./rpc-error.js";
export type { RpcErrorCode } from "./rpc-error.js";
export { asciiJsonText, toJson } from "./json-write.js";
export type { JsonOptions, JsonValue } from "./json-write.js";
export { fromJson } from "./json-read.js";
export { openApiDocument } from "./openapi.js";
export type { OpenApiInfo } from "./openapi.js";
export { serveGrpc } from "./grpc/index.js";
export type { GrpcOptions } from "./grpc/index.js";
