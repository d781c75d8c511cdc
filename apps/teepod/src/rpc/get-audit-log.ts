import { InputError } from "@dstack/core";
import type { teepod } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import type { TeepodContext } from "../context.js";
import type { Caller } from "../http/caller.js";

const DEFAULT_ENTRIES = 100;
const MAX_ENTRIES = 500;

/** What was asked of this teepod, newest first, page by page. */
export const getAuditLog =
  ({
    audit,
  }: TeepodContext): Handler<typeof teepod.GetAuditLogRequestSchema, typeof teepod.AuditLogSchema, Caller> =>
  async ({ limit, before }) => {
    if (limit > MAX_ENTRIES) throw new InputError(`limit must be ${MAX_ENTRIES} or less`);
    const page = await audit.read(
      limit === 0 ? DEFAULT_ENTRIES : limit,
      before === undefined ? undefined : Number(before),
    );
    return {
      entries: page.entries.map((entry) => ({ ...entry, seq: BigInt(entry.seq) })),
      headSeq: BigInt(audit.head.seq),
      headHash: audit.head.hash,
      ...(page.older !== undefined && { older: BigInt(page.older) }),
    };
  };
