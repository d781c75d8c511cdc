import { ChainedLogError, EMPTY_CHAIN, MAX_LINE_BYTES, follow, jsonOf } from "./chain.js";
import type { ChainFormat, ChainHead, ChainLink } from "./chain.js";
import type { LogFile } from "./log-file.js";

/**
 * Reads a log from its beginning and checks its chain, in memory for one line.
 * @param onEntry gets every entry, its text, and the bytes of its line with the newline
 * @returns where it ends, and the bytes after its last whole line
 * @throws {ChainedLogError} `broken_chain`
 */
export async function readChain<T extends ChainLink>(
  file: Pick<LogFile, "read">,
  path: string,
  format: ChainFormat<T>,
  onEntry: (entry: T, json: string, bytes: number) => void,
): Promise<{ head: ChainHead; wholeBytes: number; tornBytes: number }> {
  const buffer = new Uint8Array(2 * MAX_LINE_BYTES);
  let head = EMPTY_CHAIN;
  let wholeBytes = 0;
  let held = 0;
  for (;;) {
    const { bytesRead } = await file.read(buffer, held, buffer.length - held, wholeBytes + held);
    held += bytesRead;
    let start = 0;
    for (;;) {
      const end = buffer.subarray(0, held).indexOf(0x0a, start);
      if (end < 0) break;
      try {
        const line = Buffer.from(buffer.subarray(start, end)).toString("utf8");
        const followed = follow(format, head, line);
        head = followed.head;
        onEntry(followed.entry, jsonOf(line), end + 1 - start);
      } catch (err) {
        if (!(err instanceof ChainedLogError)) throw err;
        throw new ChainedLogError("broken_chain", `log ${path}: ${err.message}`, err.details, { cause: err });
      }
      start = end + 1;
    }
    wholeBytes += start;
    buffer.copyWithin(0, start, held);
    held -= start;
    if (bytesRead === 0) break;
    if (held > MAX_LINE_BYTES) {
      throw new ChainedLogError("broken_chain", `log ${path}: entry ${head.seq + 1} is too long`);
    }
  }
  return { head, wholeBytes, tornBytes: held };
}
