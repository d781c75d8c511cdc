import type {
  DescMessage,
  DescMethod,
  DescService,
  MessageInitShape,
  MessageShape,
} from "@bufbuild/protobuf";
import { assertJsonDialect } from "./json-write.js";

/** The TLS connection that calls come over: all calls of one connection see the very same object. */
export interface TlsSession {
  /** Bytes that only the two ends of the connection know, the TLS exporter of RFC 8446 §7.5. */
  readonly exporter: Uint8Array;
}

/** Who is behind a connection, as its listener found out. */
export interface Admission<P> {
  peer?: P;
  peerError?: Error;
  session?: TlsSession;
}

/** One call as its handler sees it, whatever transport it came by. */
export interface Call<P = unknown> {
  /** Who called, as the listener verified it. */
  readonly peer: P | undefined;
  /** Why there is no peer although the caller presented evidence. */
  readonly peerError?: Error;
  /** The connection it came over, where the listener binds evidence to connections. */
  readonly session?: TlsSession;
  /** Aborts when the caller went away or the listener closes. */
  readonly signal: AbortSignal;
  /** Also in the log and in the `x-request-id` header. */
  readonly requestId: string;
  /** IP address, or `unix`. */
  readonly remoteAddress: string;
}

export type Handler<I extends DescMessage, O extends DescMessage, P = unknown> = (
  request: MessageShape<I>,
  call: Call<P>,
) => Promise<MessageInitShape<O>>;

/** A handler for every method of a service, by the method's local (lower camel case) name. */
export type Handlers<S extends DescService, P = unknown> = {
  [K in keyof S["method"]]: Handler<S["method"][K]["input"], S["method"][K]["output"], P>;
};

export interface ImplementOptions<P = unknown> {
  /** Further names of methods, as they stand in the path: `{ CreateVM: "CreateVm" }`. */
  aliases?: Record<string, string>;
  /** Runs before the body is read; throw an RpcError to refuse. Gets the method's name as in the .proto file. */
  guard?: (method: string, call: Call<P>) => void | Promise<void>;
  /** Bytes a request body of a method may have, by the method's name as in the .proto file. */
  bodyLimits?: Record<string, number>;
}

export interface MethodImpl<P = unknown> {
  readonly desc: DescMethod;
  readonly invoke: Handler<DescMessage, DescMessage, P>;
  readonly guard: (call: Call<P>) => void | Promise<void>;
  readonly bodyLimit: number | undefined;
}

/** A service with its handlers, ready to be mounted on any transport. */
export interface ServiceImpl<P = unknown> {
  readonly desc: DescService;
  /** By name in the path, aliases included. */
  readonly methods: ReadonlyMap<string, MethodImpl<P>>;
}

/**
 * Joins a service's descriptor with its handlers.
 * @throws {TypeError} a streaming method, a missing handler, an option that names no method, or a message the JSON
 * dialect cannot express
 */
export function implement<S extends DescService, P = unknown>(
  service: S,
  handlers: Handlers<S, P>,
  options: ImplementOptions<P> = {},
): ServiceImpl<P> {
  const { aliases = {}, bodyLimits = {}, guard } = options;
  const methods = new Map<string, MethodImpl<P>>();
  for (const desc of service.methods) {
    if (desc.methodKind !== "unary")
      throw new TypeError(`${service.name}.${desc.name} is not a unary method`);
    assertJsonDialect(desc.input);
    assertJsonDialect(desc.output);
    const invoke = (handlers as Record<string, Handler<DescMessage, DescMessage, P> | undefined>)[
      desc.localName
    ];
    if (invoke === undefined) throw new TypeError(`${service.name}.${desc.name} has no handler`);
    const check = async (call: Call<P>): Promise<void> => guard?.(desc.name, call);
    methods.set(desc.name, { desc, invoke, guard: check, bodyLimit: bodyLimits[desc.name] });
  }
  for (const name of Object.keys(bodyLimits)) {
    if (!methods.has(name)) throw new TypeError(`${service.name} has no method ${name} to limit`);
  }
  for (const [alias, name] of Object.entries(aliases)) {
    const method = methods.get(name);
    if (method === undefined)
      throw new TypeError(`${service.name} has no method ${name} for the alias ${alias}`);
    methods.set(alias, method);
  }
  return { desc: service, methods };
}
