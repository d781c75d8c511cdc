import { randomUUID } from "node:crypto";
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { Access } from "./access.js";
import { sendStream } from "./stream.js";
import type { KnownToken } from "./tokens.js";
import type { Change, Watch } from "./watch.js";

/** What every dashboard is told first; programs add what they are. */
export interface Hello {
  /** Another one after each start of the daemon. */
  readonly run: string;
}

export interface EventParts<H extends object, I extends { readonly id: string }> {
  /** What the event `hello` says besides {@link Hello}. */
  readonly hello: (request: FastifyRequest) => H;
  readonly watch: Watch<I>;
  readonly access: Access<KnownToken>;
  /** Aborts when the daemon closes. */
  readonly closing: AbortSignal;
}

/** So many silent looks between two lines that say that the connection lives. */
const QUIET_LOOKS = 15;

function event(type: string, data: unknown): string {
  return `event: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
}

function eventOf<I>(change: Change<I>): string {
  if (change.type === "all") return event("all", change.items);
  if (change.type === "item") return event("item", change.item);
  return event("gone", change.id);
}

/** `GET /events`: things and what happens to them, as server-sent events `hello`, `all`, then `item` and `gone`. */
export function addEvents<H extends object, I extends { readonly id: string }>(
  app: FastifyInstance,
  { hello, watch, access, closing }: EventParts<H, I>,
): void {
  const run = randomUUID();
  app.get("/events", async (request, reply) => {
    const greeting: H & Hello = { ...hello(request), run };
    reply.type("text/event-stream; charset=utf-8");
    return sendStream(request, reply, closing, async function* (signal) {
      yield event("hello", greeting);
      let quiet = 0;
      for await (const changes of watch.follow(signal)) {
        if (!access.holds(request)) return;
        if (changes.length > 0) yield changes.map(eventOf).join("");
        else if (++quiet % QUIET_LOOKS === 0) yield ": nothing new\n\n";
      }
    });
  });
}
