import { Readable } from "node:stream";
import type { FastifyInstance } from "fastify";
import { CONTAINERS, requirePublic } from "../app/public.js";
import type { TappdContext } from "../context.js";
import { parseContainerName } from "../docker/container-name.js";
import { formatLog } from "../docker/log-lines.js";
import { parseLogQuery } from "../docker/log-query.js";
import { readLog } from "./read-log.js";
import type { LogReaders } from "./read-log.js";

/** How much of a log waits in memory for a client that reads slowly; beyond, the engine's connection is not read. */
const BUFFER_BYTES = 64 * 1024;

/** `GET /logs/<container>`: the container's log as a stream, with the parameters of wire.md. */
export function addLogs(app: FastifyInstance, context: TappdContext, readers: LogReaders): void {
  app.get<{ Params: { container: string }; Querystring: Record<string, unknown> }>(
    "/logs/:container",
    async (request, reply) => {
      requirePublic(context.compose, CONTAINERS);
      const container = parseContainerName(request.params.container);
      const query = parseLogQuery(request.query, Math.floor(Date.now() / 1000));
      const frames = await readLog(context, readers, reply, { container, query });
      if (frames === undefined) return reply;
      return reply
        .type(
          query.bare
            ? query.text
              ? "text/plain; charset=utf-8"
              : "application/octet-stream"
            : "application/x-ndjson",
        )
        .header("x-content-type-options", "nosniff")
        .header("cache-control", "no-store")
        .header("x-accel-buffering", "no")
        .send(Readable.from(formatLog(frames, query), { objectMode: false, highWaterMark: BUFFER_BYTES }));
    },
  );
}
