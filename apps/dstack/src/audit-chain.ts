import { readChain } from "@dstack/daemon";
import type { ChainHead } from "@dstack/daemon";
import { z } from "zod";

/** What every entry says, whatever else stands in it. */
const Link = z.looseObject({ seq: z.int(), prev: z.string(), at: z.string() });

/** The chained logs our daemons keep, by what each hashes in front of its entries. */
export const LOG_KINDS = {
  teepod: "dstack-teepod-audit-v1:",
  tproxy: "dstack-tproxy-audit-v1:",
  kms: "dstack-cert-log-v1:",
} as const;

export interface ChainVerdict {
  readonly entries: number;
  readonly head: ChainHead;
  /** When the last entry was made; absent for an empty log. */
  readonly last?: string;
  /** Bytes of a last line that is not whole: it is being written, or its writer was killed. */
  readonly tornBytes: number;
  /** Whether the head that was asked for is the end of the log or an entry in it. */
  readonly headFound?: boolean;
}

/**
 * Checks the chain of a log.
 * @param knownHead hash of an entry that must be in it: without one, a log cut at its end or made anew goes unseen
 * @throws {ChainedLogError} `broken_chain`
 */
export async function checkChain(
  what: string,
  chunks: AsyncIterable<Uint8Array>,
  kind: keyof typeof LOG_KINDS,
  knownHead?: string,
): Promise<ChainVerdict> {
  let headFound = false;
  let last: string | undefined;
  const format = { context: LOG_KINDS[kind], parse: (value: unknown) => Link.parse(value) };
  const { head, tornBytes } = await readChain(sequential(chunks), what, format, (entry) => {
    headFound ||= entry.prev === knownHead;
    last = entry.at;
  });
  headFound ||= head.hash === knownHead;
  return {
    entries: head.seq + 1,
    head,
    tornBytes,
    ...(last !== undefined && { last }),
    ...(knownHead !== undefined && { headFound }),
  };
}

/** A stream as a file that is read from its beginning on, which is how a chain is read. */
function sequential(chunks: AsyncIterable<Uint8Array>) {
  const iterator = chunks[Symbol.asyncIterator]();
  let held: Uint8Array = new Uint8Array();
  return {
    async read(buffer: Uint8Array, offset: number, length: number): Promise<{ bytesRead: number }> {
      while (held.length === 0) {
        const next = await iterator.next();
        if (next.done === true) return { bytesRead: 0 };
        held = next.value;
      }
      const part = held.subarray(0, length);
      buffer.set(part, offset);
      held = held.subarray(part.length);
      return { bytesRead: part.length };
    },
  };
}
