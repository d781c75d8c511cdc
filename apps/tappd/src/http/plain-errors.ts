import { toRpcError } from "@dstack/prpc";
import type { FastifyInstance } from "fastify";

/** Errors of plain HTTP routes, as those of RPC: `{"error": "<sentence>"}` with the status of the error's code. */
export function addPlainErrors(app: FastifyInstance): void {
  app.setErrorHandler((err, request, reply) => {
    const known = toRpcError(err);
    const internal = known.code === "internal";
    if (internal || known.code === "unavailable")
      request.log.error({ err, url: request.url }, "request failed");
    const message = internal ? `internal error (request ${request.id})` : known.message;
    return reply.code(known.status).type("application/json").send({ error: message });
  });
}
