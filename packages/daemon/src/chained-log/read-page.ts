import { MAX_LINE_BYTES, jsonOf } from "./chain.js";
import type { LogFile } from "./log-file.js";

export interface LogPage<T> {
  readonly entries: readonly T[];
  /** Where the oldest entry of this page begins in the file; absent when there is nothing before it. */
  readonly older?: number;
}

const CHUNK_BYTES = 2 * MAX_LINE_BYTES;

/**
 * The last `limit` entries before a place in the file, newest first; fewer when they are long.
 * @param end any place: a line that is cut off there is left out
 */
export async function readPage<T>(
  file: Pick<LogFile, "read">,
  parse: (value: unknown) => T,
  end: number,
  limit: number,
): Promise<LogPage<T>> {
  const start = Math.max(0, end - CHUNK_BYTES);
  const chunk = Buffer.alloc(end - start);
  const { bytesRead } = await file.read(chunk, 0, chunk.length, start);
  const bytes = chunk.subarray(0, bytesRead);
  const entries: T[] = [];
  let lineEnd = bytes.lastIndexOf(10);
  while (lineEnd > 0 && entries.length < limit) {
    const lineStart = bytes.subarray(0, lineEnd).lastIndexOf(10) + 1;
    // The chunk may begin in the middle of its first line.
    if (lineStart === 0 && start > 0) break;
    entries.push(parse(JSON.parse(jsonOf(bytes.toString("utf8", lineStart, lineEnd)))));
    lineEnd = lineStart - 1;
  }
  const older = start + lineEnd + 1;
  return { entries, ...(older > 0 && older < end && { older }) };
}
