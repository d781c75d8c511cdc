import { sendStream } from "@dstack/dashboard";
import type { FastifyInstance } from "fastify";
import type { AuditLog } from "./audit-log.js";

/** `GET /audit.log`: the audit log as its file has it, so that `dstack audit verify` checks the chain far from this host. */
export function addAuditFile(app: FastifyInstance, audit: AuditLog, closing: AbortSignal): void {
  app.get("/audit.log", async (request, reply) => {
    reply.type("text/plain; charset=utf-8");
    return sendStream(request, reply, closing, () => audit.bytes());
  });
}
