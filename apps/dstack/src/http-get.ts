import { errorCode, errorMessage } from "@dstack/core";
import type { Readable } from "node:stream";
import { request } from "undici";
import { CliError, printable } from "./output.js";
import { authHeaders } from "./teepod.js";
import type { TeepodAddress } from "./teepod.js";

const HEADERS_LIMIT_MS = 60_000;
/** Of an error's text, which is the teepod's. */
const MAX_SENTENCE = 500;
/** Of the answer it stands in: the teepod's, too, to end or not. */
const MAX_REFUSAL = 64 * 1024;
const REFUSAL_LIMIT_MS = 5000;

/** The teepod answered, with something else than what was asked for. */
export class TeepodRefusal extends CliError {
  override name = "TeepodRefusal";
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

/**
 * What a teepod serves beside its RPC, as it comes.
 * @throws {CliError} nobody answers, or with a refusal
 */
export async function getFromTeepod(
  address: TeepodAddress,
  path: string,
  signal: AbortSignal,
): Promise<AsyncIterable<Uint8Array> & Pick<Readable, "destroy">> {
  let answer: Awaited<ReturnType<typeof request>>;
  try {
    answer = await request(`${address.url}${path}`, {
      headers: authHeaders(address),
      signal,
      headersTimeout: HEADERS_LIMIT_MS,
      bodyTimeout: 0,
    });
  } catch (err) {
    signal.throwIfAborted();
    throw new CliError(`no teepod answers at ${address.url} (${errorCode(err) ?? errorMessage(err)})`, 1, {
      cause: err,
    });
  }
  if (answer.statusCode === 200) return answer.body;
  const text = await startOf(answer.body);
  signal.throwIfAborted();
  throw new TeepodRefusal(
    `the teepod refuses (${answer.statusCode}): ${printable(sentenceOf(text)).slice(0, MAX_SENTENCE)}`,
    answer.statusCode,
  );
}

/** What came of it until it was too long or took too long. */
async function startOf(body: Readable): Promise<string> {
  const limit = setTimeout(() => body.destroy(), REFUSAL_LIMIT_MS);
  const decoder = new TextDecoder();
  let text = "";
  try {
    for await (const chunk of body as AsyncIterable<Uint8Array>) {
      text += decoder.decode(chunk, { stream: true });
      if (text.length > MAX_REFUSAL) break;
    }
  } catch {
    // What there is will do.
  } finally {
    clearTimeout(limit);
    body.on("error", () => {}).destroy();
  }
  return text;
}

function sentenceOf(text: string): string {
  try {
    const { error } = JSON.parse(text) as { error?: unknown };
    return typeof error === "string" ? error : text;
  } catch {
    return text;
  }
}
