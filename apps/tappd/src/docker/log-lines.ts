import { StringDecoder } from "node:string_decoder";
import { AnsiStripper } from "./strip-ansi.js";
import type { LogChannel, LogFrame } from "./log-frames.js";

export interface LogFormat {
  text: boolean;
  bare: boolean;
  ansi: boolean;
}

/**
 * Puts log frames into the form the caller asked for: one JSON object a line (`{"channel","message"}`), or the
 * log alone when `bare`.
 */
export async function* formatLog(
  frames: AsyncIterable<LogFrame>,
  format: LogFormat,
): AsyncGenerator<Uint8Array> {
  const line = (channel: LogChannel, message: string): Uint8Array =>
    Buffer.from(format.bare ? message : `${JSON.stringify({ channel, message })}\n`);
  if (format.text) {
    for await (const { channel, message } of logText(frames, format)) yield line(channel, message);
    return;
  }
  for await (const { channel, bytes } of frames) {
    yield format.bare ? bytes : line(channel, Buffer.from(bytes).toString("base64"));
  }
}

/** Log frames as text, without terminal sequences unless `ansi`. Text that is no UTF-8 shows as U+FFFD. */
export async function* logText(
  frames: AsyncIterable<LogFrame>,
  { ansi }: Pick<LogFormat, "ansi">,
): AsyncGenerator<{ channel: LogChannel; message: string }> {
  const decoders = new Map<LogChannel, TextOfChannel>();
  for await (const { channel, bytes } of frames) {
    let decoder = decoders.get(channel);
    if (decoder === undefined) decoders.set(channel, (decoder = new TextOfChannel(ansi)));
    const message = decoder.write(bytes);
    if (message !== "") yield { channel, message };
  }
  for (const [channel, decoder] of decoders) {
    const message = decoder.end();
    if (message !== "") yield { channel, message };
  }
}

/** The text of one channel: characters and escape sequences may be cut between two frames. */
class TextOfChannel {
  readonly #decoder = new StringDecoder("utf8");
  readonly #stripper: AnsiStripper | undefined;

  constructor(ansi: boolean) {
    this.#stripper = ansi ? undefined : new AnsiStripper();
  }

  write(bytes: Uint8Array): string {
    const kept = this.#stripper === undefined ? bytes : this.#stripper.strip(bytes);
    return this.#decoder.write(Buffer.from(kept.buffer, kept.byteOffset, kept.byteLength));
  }

  end(): string {
    return this.#decoder.end();
  }
}
