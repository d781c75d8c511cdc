import type { FastifyReply } from "fastify";
import type { TappdContext } from "../context.js";
import { consoleLog, demultiplexLog } from "../docker/log-frames.js";
import type { LogFrame } from "../docker/log-frames.js";
import type { LogQuery } from "../docker/log-query.js";
import type { Clients } from "./clients.js";
import type { LogSlots } from "./log-slots.js";

/** Who may read logs at once, and how readers are told apart. */
export interface LogReaders {
  readonly slots: LogSlots;
  readonly clients: Clients;
}

/**
 * Opens a container's log for one request. Its slot and the engine's connection are given back when the caller goes
 * away, or when the answer is sent.
 * @param limitMs after which the log breaks off
 * @returns undefined when the caller has gone already: then there is nobody to answer
 * @throws {RpcError} `too_many` logs are read at once
 * @throws {NoSuchContainerError}
 */
export async function readLog(
  { engine }: Pick<TappdContext, "engine">,
  { slots, clients }: LogReaders,
  reply: FastifyReply,
  log: { readonly container: string; readonly query: LogQuery; readonly limitMs?: number },
): Promise<AsyncIterable<LogFrame> | undefined> {
  const release = slots.take(clients.of(reply.request.socket));
  const gone = new AbortController();
  const leave = (why: string): void => gone.abort(new Error(why));
  const limit =
    log.limitMs === undefined ? undefined : setTimeout(() => leave("its time is over"), log.limitMs);
  reply.raw.once("close", () => {
    clearTimeout(limit);
    release();
    leave("the caller went away");
  });
  // The caller may have left before the listener was there.
  if (reply.raw.destroyed) {
    clearTimeout(limit);
    release();
    reply.hijack();
    return undefined;
  }

  const { stream, hasTerminal } = await engine.openLog(log.container, log.query, gone.signal);
  // An iterator that waits for the next chunk of a quiet log only ends when the chunk's source does.
  if (gone.signal.aborted) stream.destroy();
  gone.signal.addEventListener("abort", () => stream.destroy(), { once: true });
  return hasTerminal ? consoleLog(stream) : demultiplexLog(stream);
}
