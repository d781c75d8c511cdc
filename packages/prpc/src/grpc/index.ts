import type { GrpcOptions } from "./serve.js";

export type { GrpcOptions } from "./serve.js";

/**
 * Serves services over gRPC, with server reflection (v1, v1alpha) and the standard health service: the same
 * descriptors, handlers and guards as {@link mountPrpc}. grpc-js is loaded on the first call; most processes never
 * open this port.
 */
export async function serveGrpc<P>(
  options: GrpcOptions<P>,
): Promise<AsyncDisposable & { readonly port: number }> {
  const adapter = await import("./serve.js");
  return adapter.serveGrpc(options);
}
