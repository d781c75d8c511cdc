import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MAX_PIECE_BYTES, consoleLog, demultiplexLog } from "../../src/docker/log-frames.js";
import type { LogFrame } from "../../src/docker/log-frames.js";
import { formatLog } from "../../src/docker/log-lines.js";
import { AnsiStripper } from "../../src/docker/strip-ansi.js";
import { frame } from "../support/fake-engine.js";

async function* chunks(...pieces: Uint8Array[]): AsyncGenerator<Uint8Array> {
  yield* pieces;
}
async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = [];
  for await (const item of items) all.push(item);
  return all;
}
/** Cuts bytes at the given places. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const ends = [...new Set(places.map((place) => place % (bytes.length + 1)))].toSorted((a, b) => a - b);
  return [0, ...ends].map((start, index) => bytes.subarray(start, ends[index] ?? bytes.length));
}

describe("the multiplexed stream", () => {
  it("comes out the same however it was cut", async () => {
    const logs = fc.array(fc.tuple(fc.constantFrom(1 as const, 2 as const), fc.string({ minLength: 1 })), {
      maxLength: 8,
    });
    await fc.assert(
      fc.asyncProperty(logs, fc.array(fc.nat(), { maxLength: 12 }), async (frames, places) => {
        const whole = Buffer.concat(frames.map(([stream, text]) => frame(stream, text)));
        const read = await collect(demultiplexLog(chunks(...cut(whole, places))));
        expect(read.map(({ channel, bytes }) => [channel, Buffer.from(bytes).toString()])).toEqual(
          frames.map(([stream, text]) => [stream === 1 ? "stdout" : "stderr", Buffer.from(text).toString()]),
        );
      }),
    );
  });

  it("hands a long line on in pieces", async () => {
    const read = await collect(demultiplexLog(chunks(frame(1, "x".repeat(MAX_PIECE_BYTES + 5)))));
    expect(read.map(({ bytes }) => bytes.length)).toEqual([MAX_PIECE_BYTES, 5]);
  });

  it("holds no more than a piece although a header announces 4 GiB", async () => {
    const header = Buffer.from([1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]);
    const frames = demultiplexLog(chunks(header, Buffer.alloc(MAX_PIECE_BYTES)));
    expect((await frames.next()).value?.bytes.length).toBe(MAX_PIECE_BYTES);
    await expect(frames.next()).rejects.toThrow(/ended within a frame/);
  });

  it.each([
    ["an unknown stream type", Buffer.from([7, 0, 0, 0, 0, 0, 0, 0]), /unknown frame header/],
    ["bytes that are no header", Buffer.from("plain text"), /unknown frame header/],
    ["an end within a frame", frame(1, "text").subarray(0, 10), /ended within a frame/],
    ["an end within a header", Buffer.from([1, 0, 0]), /ended within a frame/],
  ])("refuses %s", async (_, bytes, message) => {
    await expect(collect(demultiplexLog(chunks(bytes)))).rejects.toThrow(message);
  });

  it("skips empty frames", async () => {
    expect(await collect(demultiplexLog(chunks(frame(1, ""), frame(1, "a"))))).toHaveLength(1);
  });
});

describe("a terminal's stream", () => {
  it("loses no byte and is cut after newlines", async () => {
    await fc.assert(
      fc.asyncProperty(fc.string(), fc.array(fc.nat(), { maxLength: 8 }), async (text, places) => {
        const whole = Buffer.from(text);
        const read = await collect(consoleLog(chunks(...cut(whole, places))));
        expect(Buffer.concat(read.map(({ bytes }) => bytes))).toEqual(whole);
        for (const { bytes } of read) expect(bytes.indexOf(10)).toBeOneOf([-1, bytes.length - 1]);
      }),
    );
  });

  it("does not wait for the newline of an endless line", async () => {
    const read = await collect(consoleLog(chunks(Buffer.alloc(2 * MAX_PIECE_BYTES + 1, "x"))));
    expect(read.map(({ bytes }) => bytes.length)).toEqual([MAX_PIECE_BYTES, MAX_PIECE_BYTES, 1]);
  });
});

describe("text", () => {
  const formatted = async (frames: readonly LogFrame[], ansi = false): Promise<string> => {
    const source = (async function* () {
      yield* frames;
    })();
    const pieces = await collect(formatLog(source, { text: true, bare: true, ansi }));
    return Buffer.concat(pieces).toString();
  };

  it("keeps a character that two frames share, per channel", async () => {
    const [first, second] = [Buffer.from("ü").subarray(0, 1), Buffer.from("ü").subarray(1)];
    expect(
      await formatted([
        { channel: "stdout", bytes: first },
        { channel: "stderr", bytes: Buffer.from("|") },
        { channel: "stdout", bytes: second },
      ]),
    ).toBe("|ü");
  });

  it("shows what is no UTF-8 as U+FFFD, at the very end too", async () => {
    expect(await formatted([{ channel: "stdout", bytes: Buffer.from([0x41, 0xff, 0x42, 0xc3]) }])).toBe(
      "A\ufffdB\ufffd",
    );
  });
});

describe("AnsiStripper", () => {
  const strip = (...pieces: string[]): string => {
    const stripper = new AnsiStripper();
    return pieces.map((piece) => Buffer.from(stripper.strip(Buffer.from(piece))).toString()).join("");
  };

  it.each([
    ["colours", "\u001b[1;31mred\u001b[0m", "red"],
    ["cursor movement", "a\u001b[2K\u001b[1Gb", "ab"],
    ["a window title ended by BEL", "\u001b]0;title\u0007text", "text"],
    ["a hyperlink ended by ST", "\u001b]8;;http://x\u001b\\link\u001b]8;;\u001b\\", "link"],
    ["a device control string", "a\u001bPq#0\u001b\\b", "ab"],
    ["two-byte escapes", "\u001b7a\u001b8b\u001bc", "ab"],
    ["a character set choice", "\u001b(Btext", "text"],
    ["a broken sequence before a newline", "\u001b[31\ntext", "\ntext"],
    ["an unended string before a newline", "\u001b]0;title\ntext", "\ntext"],
    ["an escape within a sequence", "\u001b[3\u001b[1mb", "b"],
    ["nothing", "plain ü\n", "plain ü\n"],
  ])("removes %s", (_, input, expected) => {
    expect(strip(input)).toBe(expected);
    expect(strip(...input)).toBe(expected); // one character at a time
  });

  it("gives up on a string that never ends", () => {
    expect(strip(`\u001b]${"x".repeat(5000)}`, "text")).toMatch(/text$/);
  });
});
