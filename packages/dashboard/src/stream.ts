import { Readable } from "node:stream";
import type { FastifyReply, FastifyRequest } from "fastify";

/**
 * Answers with what a generator yields, for as long as it yields. The signal it gets aborts when the reader goes and
 * when the daemon closes.
 */
export function sendStream(
  request: FastifyRequest,
  reply: FastifyReply,
  closing: AbortSignal,
  make: (signal: AbortSignal) => AsyncGenerator<Buffer | string>,
): FastifyReply {
  const gone = new AbortController();
  reply.raw.once("close", () => gone.abort());
  // Headers at once: a client that follows something silent should know that it is connected.
  reply.header("x-accel-buffering", "no");
  reply.raw.once("pipe", () => reply.raw.flushHeaders());
  // A connection that would be kept alive keeps the listener from closing.
  reply.raw.once("finish", () => {
    if (closing.aborted) request.raw.socket.destroySoon();
  });
  return reply.send(Readable.from(make(AbortSignal.any([gone.signal, closing])), { objectMode: false }));
}
