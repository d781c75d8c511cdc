import { promisify } from "node:util";
import { gunzip } from "node:zlib";
import { CodedError, errorCode, withDeadline } from "@dstack/core";
import { type Dispatcher, request } from "undici";

/** An answer we do not take: not 200, or too long. */
export class HttpError extends CodedError<"status" | "too_large"> {
  override name = "HttpError";
}

export interface Question {
  /** Of the answer, unpacked. */
  readonly maxBytes: number;
  /** For all of it, down to the last byte. */
  readonly limitMs: number;
  readonly signal: AbortSignal;
  readonly dispatcher?: Dispatcher | undefined;
}

const unpack = promisify(gunzip);

/**
 * One GET, its answer read whole, unpacked and bounded; no redirect is followed, nothing is retried.
 * @throws {HttpError}
 * @throws {TimeoutError}
 */
export async function getBytes(url: string, question: Question): Promise<Uint8Array> {
  return withDeadline(
    `GET ${url}`,
    question.limitMs,
    async (signal) => {
      const tooLarge = (): HttpError =>
        new HttpError("too_large", `${url} answers with more than ${question.maxBytes} bytes`);
      const { statusCode, headers, body } = await request(url, {
        signal,
        headers: { "accept-encoding": "gzip, identity" },
        ...(question.dispatcher === undefined ? {} : { dispatcher: question.dispatcher }),
      });
      const parts: Uint8Array[] = [];
      let length = 0;
      for await (const part of body as AsyncIterable<Uint8Array>) {
        length += part.length;
        if (length > question.maxBytes) throw tooLarge();
        parts.push(part);
      }
      if (statusCode !== 200)
        throw new HttpError("status", `${url} answers with status ${statusCode}`, { statusCode });
      const bytes = Buffer.concat(parts);
      if (headers["content-encoding"] !== "gzip") return new Uint8Array(bytes);
      try {
        return new Uint8Array(await unpack(bytes, { maxOutputLength: question.maxBytes }));
      } catch (err) {
        throw errorCode(err) === "ERR_BUFFER_TOO_LARGE" ? tooLarge() : err;
      }
    },
    question.signal,
  );
}

/** As {@link getBytes}, parsed as JSON. @throws {SyntaxError} it is none */
export async function getJson(url: string, question: Question): Promise<unknown> {
  return JSON.parse(Buffer.from(await getBytes(url, question)).toString("utf8"));
}
