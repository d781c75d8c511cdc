import type { FileHandle } from "node:fs/promises";
import { z } from "zod";

const Line = z.object({
  at: z.string(),
  who: z.string(),
  role: z.string(),
  from: z.string(),
  request: z.string(),
  method: z.string(),
  vm: z.string(),
  outcome: z.string(),
  message: z.string().exactOptional(),
  result: z.string().exactOptional(),
});

export interface AuditPage {
  readonly entries: readonly z.output<typeof Line>[];
  /** Where the oldest entry of this page begins in the file; absent when there is nothing before it. */
  readonly older?: number;
}

/** Some four hundred lines. */
const CHUNK_BYTES = 128 * 1024;

/** The last `limit` entries before a place in the file, newest first. A torn line of a killed teepod is left out. */
export async function readEntriesBefore(file: FileHandle, end: number, limit: number): Promise<AuditPage> {
  const start = Math.max(0, end - CHUNK_BYTES);
  const { buffer, bytesRead } = await file.read(Buffer.alloc(end - start), 0, end - start, start);
  const entries: z.output<typeof Line>[] = [];
  let lineEnd = buffer.subarray(0, bytesRead).lastIndexOf(10);
  while (lineEnd > 0 && entries.length < limit) {
    const lineStart = buffer.subarray(0, lineEnd).lastIndexOf(10) + 1;
    // The chunk may begin in the middle of its first line.
    if (lineStart === 0 && start > 0) break;
    const entry = parseLine(buffer.toString("utf8", lineStart, lineEnd));
    if (entry !== undefined) entries.push(entry);
    lineEnd = lineStart - 1;
  }
  const older = start + lineEnd + 1;
  return { entries, ...(older > 0 && older < end && { older }) };
}

function parseLine(text: string): z.output<typeof Line> | undefined {
  try {
    return Line.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}
