import { z } from "zod";

/** One issued certificate, as the log keeps it. */
export const CertLogEntry = z.strictObject({
  /** From 0, without gaps. */
  seq: z.int().min(0),
  /** Hash of the entry before. */
  prev: z.string().regex(/^[0-9a-f]{64}$/),
  /** ISO 8601, UTC. */
  at: z.iso.datetime(),
  /** `root-handover`: the root key went to a replica; the certificate is the root's. */
  kind: z.enum(["app-ca", "root-ca", "server", "root-handover"]),
  subject: z.string(),
  /** Base64 of the certificate's DER. */
  certificate: z.base64(),
  app_id: z.string().optional(),
  instance_id: z.string().optional(),
  compose_hash: z.string().optional(),
  /** `simulated`: no hardware stands behind the evidence it was issued for. */
  anchor: z.string().optional(),
  tcb_status: z.string().optional(),
  /** The processor that vouched for it, 32 hex digits. */
  ppid: z.string().optional(),
});
export type CertLogEntry = z.infer<typeof CertLogEntry>;
