import { ChainedLog } from "@dstack/daemon";
import type { Logger } from "@dstack/daemon";
import { z } from "zod";

/** What an operator asked for, or what came of it. */
const AuditEntry = z.strictObject({
  seq: z.int().min(0),
  prev: z.string().regex(/^[0-9a-f]{64}$/),
  at: z.iso.datetime(),
  /** Name of the token. */
  who: z.string(),
  /** IP address of the caller; empty on a unix socket. */
  from: z.string(),
  request: z.string(),
  method: z.string(),
  /** The instance or node it is about. */
  about: z.string(),
  outcome: z.enum(["asked", "done", "refused", "failed"]),
  message: z.string().optional(),
});
type AuditEntry = z.infer<typeof AuditEntry>;

/** Every change an operator asked for: append-only, hash-chained. */
export type AuditLog = ChainedLog<AuditEntry>;

/**
 * Opens it and checks its chain.
 * @throws {ChainedLogError} somebody changed it
 */
export function openAuditLog(path: string, log: Logger): Promise<AuditLog> {
  return ChainedLog.open(path, {
    context: "dstack-tproxy-audit-v1:",
    parse: (value) => AuditEntry.parse(value),
    onTorn: ({ bytes }) => log.warn({ bytes }, "the audit log's last line was torn by a crash and cut off"),
  });
}
