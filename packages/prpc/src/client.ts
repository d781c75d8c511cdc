import type { DescMethod, DescService, MessageInitShape, MessageShape } from "@bufbuild/protobuf";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { RpcError } from "./rpc-error.js";

export interface CallOptions {
  signal?: AbortSignal;
}

/** Carries protobuf bodies to a server. Failing calls reject with an {@link RpcError}. */
export interface Transport {
  call(service: string, method: string, body: Uint8Array, options: CallOptions): Promise<Uint8Array>;
}

/** A function for every method of a service, by the method's local (lower camel case) name. */
export type Client<S extends DescService> = {
  [K in keyof S["method"]]: (
    request?: MessageInitShape<S["method"][K]["input"]>,
    options?: CallOptions,
  ) => Promise<MessageShape<S["method"][K]["output"]>>;
};

async function callMethod(
  transport: Transport,
  method: DescMethod,
  request: MessageInitShape<DescMethod["input"]> | undefined,
  options: CallOptions,
): Promise<MessageShape<DescMethod["output"]>> {
  const body = toBinary(method.input, create(method.input, request));
  const answer = await transport.call(method.parent.name, method.name, body, options);
  try {
    return fromBinary(method.output, answer);
  } catch (err) {
    throw new RpcError("internal", `the answer of ${method.parent.name}.${method.name} cannot be read`, {
      cause: err,
    });
  }
}

/** A typed client of a service. Every method rejects with an {@link RpcError} carrying the server's message and code. */
export function createClient<S extends DescService>(service: S, transport: Transport): Client<S> {
  const methods = service.methods.map((method) => [
    method.localName,
    (request?: MessageInitShape<DescMethod["input"]>, options: CallOptions = {}) =>
      callMethod(transport, method, request, options),
  ]);
  return Object.fromEntries(methods) as Client<S>;
}
