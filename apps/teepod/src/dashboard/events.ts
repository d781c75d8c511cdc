import { randomUUID } from "node:crypto";
import type { FastifyInstance } from "fastify";
import type { Access } from "../http/auth.js";
import { sendStream } from "../http/stream.js";
import type { Role } from "../http/tokens.js";
import type { VmSummary } from "./vm-summary.js";
import type { Change, Watch } from "./watch.js";

/** What the page is told about the teepod it talks to. */
export interface HostFacts {
  readonly version: string;
  readonly hypervisor: string;
  /** Development images run on a simulated TDX platform. */
  readonly simulated: boolean;
  readonly port_mapping: { readonly enabled: boolean; readonly ranges: readonly string[] };
  readonly limits: { readonly vcpu: number; readonly memory: number; readonly disk_size: number };
  /** Links, as the configuration names them. */
  readonly other_hosts: readonly { readonly name: string; readonly url: string }[];
}

/** The event `hello`, which comes first. */
export interface Hello {
  readonly host: HostFacts;
  /** Another one after each start of teepod. */
  readonly run: string;
  readonly you: { readonly name: string; readonly role: Role };
}

/** So many silent looks between two lines that say that the connection lives. */
const QUIET_LOOKS = 15;

function event(type: string, data: unknown): string {
  return `event: ${type}\ndata: ${JSON.stringify(data)}\n\n`;
}

function eventOf(change: Change<VmSummary>): string {
  if (change.type === "all") return event("vms", change.items);
  if (change.type === "item") return event("vm", change.item);
  return event("gone", change.id);
}

/** `GET /events`: the VMs and what happens to them, as server-sent events `hello`, `vms`, then `vm` and `gone`. */
export function addEvents(
  app: FastifyInstance,
  facts: HostFacts,
  watch: Watch<VmSummary>,
  access: Access,
  closing: AbortSignal,
): void {
  const run = randomUUID();
  app.get("/events", async (request, reply) => {
    const hello: Hello = { host: facts, run, you: access.callerOf(request) };
    reply.type("text/event-stream; charset=utf-8");
    return sendStream(request, reply, closing, async function* (signal) {
      yield event("hello", hello);
      let quiet = 0;
      for await (const changes of watch.follow(signal)) {
        if (!access.holds(request)) return;
        if (changes.length > 0) yield changes.map(eventOf).join("");
        else if (++quiet % QUIET_LOOKS === 0) yield ": nothing new\n\n";
      }
    });
  });
}
