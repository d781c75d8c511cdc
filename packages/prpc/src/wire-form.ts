import type { DescMessage, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { InputError } from "@dstack/core";
import { ProtoErrorSchema } from "./gen/prpc_pb.js";
import { fromJson, fromQuery } from "./json-read.js";
import { asciiJsonText, toJson } from "./json-write.js";
import type { JsonOptions } from "./json-write.js";
import type { RpcError } from "./rpc-error.js";

/** How one call is encoded, both ways. */
export interface WireForm {
  readonly contentType: string;
  readRequest<D extends DescMessage>(schema: D, body: Uint8Array): MessageShape<D>;
  writeResponse<D extends DescMessage>(schema: D, message: MessageInitShape<D>): Uint8Array;
  writeError(error: RpcError): Uint8Array;
}

/** Protobuf bodies; a failed call answers `ProtoError`. */
export const binaryForm: WireForm = {
  contentType: "application/octet-stream",
  readRequest(schema, body) {
    try {
      return fromBinary(schema, body);
    } catch (err) {
      throw new InputError(`request body is not a valid ${schema.name} message`, { cause: err });
    }
  },
  writeResponse: (schema, message) => toBinary(schema, create(schema, message)),
  writeError: (error) => toBinary(ProtoErrorSchema, create(ProtoErrorSchema, { message: error.message })),
};

function decodeUtf8(body: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(body);
  } catch (err) {
    throw new InputError("request body is not valid UTF-8", { cause: err });
  }
}

export interface JsonFormOptions extends JsonOptions {
  /** Escape everything outside ASCII. */
  ascii?: boolean;
}

function jsonText(value: Parameters<typeof asciiJsonText>[0], options: JsonFormOptions): Uint8Array {
  return Buffer.from(options.ascii === true ? asciiJsonText(value) : JSON.stringify(value));
}

/** JSON bodies in the dialect of wire.md; a failed call answers `{"error": "…"}`. */
export function jsonForm(options: JsonFormOptions): WireForm {
  return {
    contentType: "application/json",
    readRequest: (schema, body) => fromJson(schema, decodeUtf8(body)),
    writeResponse: (schema, message) => jsonText(toJson(schema, create(schema, message), options), options),
    writeError: (error) => jsonText({ error: error.message }, options),
  };
}

/** As {@link jsonForm}, with the request in the query string. */
export function queryForm(options: JsonFormOptions, query: URLSearchParams): WireForm {
  return { ...jsonForm(options), readRequest: (schema) => fromQuery(schema, query) };
}
