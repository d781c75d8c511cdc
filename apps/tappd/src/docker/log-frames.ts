/** Where a piece of a log came from; `console` is a container with a terminal, which has one stream only. */
export type LogChannel = "stdin" | "stdout" | "stderr" | "console";

export interface LogFrame {
  channel: LogChannel;
  bytes: Uint8Array;
}

/** The frame header of a container without a terminal: stream type, three zeros, length big-endian (Docker Engine API, "Attach"). */
const HEADER_BYTES = 8;
const CHANNELS: readonly LogChannel[] = ["stdin", "stdout", "stderr"];
/** Longer log lines are handed on in pieces, so that no line decides how much memory we hold. */
export const MAX_PIECE_BYTES = 64 * 1024;

/** The engine sent something that is no log stream. */
export class LogStreamError extends Error {
  override name = "LogStreamError";
}

/**
 * Takes the multiplexed log stream of a container without a terminal apart. One frame is one log line, except
 * that lines over {@link MAX_PIECE_BYTES} come in several.
 * @throws {LogStreamError} a header of no known kind, or an end in the middle of a frame
 */
export async function* demultiplexLog(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<LogFrame> {
  let held: Uint8Array[] = [];
  let heldBytes = 0;
  let channel: LogChannel | undefined;
  let left = 0;

  const take = (length: number): Uint8Array => {
    const [only] = held;
    const all = held.length === 1 && only !== undefined ? only : Buffer.concat(held, heldBytes);
    held = [all.subarray(length)];
    heldBytes = all.length - length;
    return all.subarray(0, length);
  };

  for await (const chunk of chunks) {
    held.push(chunk);
    heldBytes += chunk.length;
    while (true) {
      if (channel === undefined) {
        if (heldBytes < HEADER_BYTES) break;
        const header = Buffer.from(take(HEADER_BYTES));
        channel = CHANNELS[header.readUInt8(0)];
        if (channel === undefined || header.readUIntBE(1, 3) !== 0) {
          throw new LogStreamError("reading log: the engine's stream has an unknown frame header");
        }
        left = header.readUInt32BE(4);
      }
      const want = Math.min(left, MAX_PIECE_BYTES);
      if (heldBytes < want) break;
      if (want > 0) yield { channel, bytes: take(want) };
      left -= want;
      if (left === 0) channel = undefined;
    }
  }
  if (heldBytes > 0 || channel !== undefined)
    throw new LogStreamError("reading log: the engine's stream ended within a frame");
}

/** The raw log stream of a container with a terminal, cut into lines (or pieces of very long ones). */
export async function* consoleLog(chunks: AsyncIterable<Uint8Array>): AsyncGenerator<LogFrame> {
  let held = Buffer.alloc(0);
  for await (const chunk of chunks) {
    held = held.length === 0 ? Buffer.from(chunk) : Buffer.concat([held, chunk]);
    while (held.length > 0) {
      const newline = held.indexOf(0x0a);
      const end = newline === -1 ? held.length : newline + 1;
      if (newline === -1 && held.length < MAX_PIECE_BYTES) break;
      const piece = Math.min(end, MAX_PIECE_BYTES);
      yield { channel: "console", bytes: held.subarray(0, piece) };
      held = held.subarray(piece);
    }
  }
  if (held.length > 0) yield { channel: "console", bytes: held };
}
