import { InputError } from "@dstack/core";
import { ChainedLogError } from "@dstack/daemon";
import type { AdminContext, AdminHandler } from "./admin-context.js";
import type { AuditLog } from "./audit-log.js";

const USUAL_ENTRIES = 100;
const MOST_ENTRIES = 500;

/** `TproxyAdmin.GetAuditLog` */
export const getAuditLog =
  ({ audit }: AdminContext): AdminHandler<"getAuditLog"> =>
  async ({ limit, before }) => {
    if (limit > MOST_ENTRIES) throw new InputError(`limit must be ${MOST_ENTRIES} or less`);
    const broken = before === undefined ? await whatIsBroken(audit) : "";
    const { seq, hash } = audit.head;
    const head = { headSeq: BigInt(seq), headHash: hash, broken };
    // Entries of a log that somebody changed are nobody's word.
    if (broken !== "") return head;
    const page = await audit.page(
      limit === 0 ? USUAL_ENTRIES : limit,
      before === undefined ? undefined : Number(before),
    );
    return {
      ...head,
      entries: page.entries.map(({ prev: _prev, ...entry }) => ({ ...entry, seq: BigInt(entry.seq) })),
      ...(page.older !== undefined && { older: BigInt(page.older) }),
    };
  };

async function whatIsBroken(audit: AuditLog): Promise<string> {
  try {
    await audit.check();
    return "";
  } catch (err) {
    if (err instanceof ChainedLogError) return err.message;
    throw err;
  }
}
