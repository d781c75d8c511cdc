import { InputError, parseWhen } from "@dstack/core";
import { sendStream } from "@dstack/dashboard";
import type { Access } from "@dstack/dashboard";
import { RpcError } from "@dstack/prpc";
import type { FastifyInstance } from "fastify";
import { TerminalStripper } from "../vm/text.js";
import type { SerialLog } from "../vm/serial-log.js";
import type { VmManager } from "../vm/vm-manager.js";
import type { KnownToken } from "./tokens.js";

const MAX_LINES = 1_000_000;

interface LogsQuery {
  readonly id: string;
  readonly follow: boolean;
  readonly ansi: boolean;
  readonly lines?: number;
  readonly since?: Date;
}

/** A flag is on when it is there without a value, or as `true` or `1`. */
function flag(params: URLSearchParams, name: string): boolean {
  const value = params.get(name);
  return value === "" || value === "true" || value === "1";
}

/** @throws {InputError} */
export function parseLogsQuery(query: string, now: Date): LogsQuery {
  const params = new URLSearchParams(query);
  const id = params.get("id");
  if (id === null || id === "") throw new InputError("the query needs an id: /logs?id=<vm>");
  const lines = params.get("lines");
  if (lines !== null && (!/^\d{1,7}$/.test(lines) || Number(lines) > MAX_LINES)) {
    throw new InputError(`lines must be a number up to ${MAX_LINES}`);
  }
  const since = params.get("since");
  return {
    id,
    follow: flag(params, "follow"),
    ansi: flag(params, "ansi"),
    ...(lines !== null && { lines: Number(lines) }),
    ...(since !== null && { since: new Date(parseWhen("since", since, now.getTime() / 1000) * 1000) }),
  };
}

async function* output(log: SerialLog, query: LogsQuery, signal: AbortSignal): AsyncGenerator<Buffer> {
  const stripper = new TerminalStripper();
  for await (const chunk of log.read({ ...query, signal })) {
    const bytes = query.ansi ? chunk : Buffer.from(stripper.push(chunk));
    if (bytes.length > 0) yield bytes;
  }
}

/** `GET /logs?id=<vm>&follow=&ansi=&lines=&since=`: the VM's console, as text; without `ansi` only what is harmless. */
export function addLogs(
  app: FastifyInstance,
  vms: VmManager,
  access: Access<KnownToken>,
  closing: AbortSignal,
): void {
  app.get("/logs", async (request, reply) => {
    const query = parseLogsQuery(request.url.split("?", 2)[1] ?? "", vms.parts.clock.now());
    const vm = vms.find(query.id);
    if (vm === undefined) throw new RpcError("not_found", "there is no VM of that id");
    reply.type("text/plain; charset=utf-8");
    return sendStream(request, reply, closing, async function* (signal) {
      for await (const bytes of output(vm.serialLog, query, signal)) {
        if (!access.holds(request)) return;
        yield bytes;
      }
    });
  });
}
