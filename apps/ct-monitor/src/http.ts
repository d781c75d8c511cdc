import { CodedError, withDeadline } from "@dstack/core";
import { type Dispatcher, request } from "undici";

/** An answer we do not take: not 200, or too long. */
export class HttpError extends CodedError<"status" | "too_large"> {
  override name = "HttpError";
}

export interface Question {
  readonly maxBytes: number;
  /** For all of it, down to the last byte. */
  readonly limitMs: number;
  readonly signal: AbortSignal;
  readonly dispatcher?: Dispatcher | undefined;
}

/**
 * One GET, its answer read whole and bounded; no redirect is followed, nothing is retried.
 * @throws {HttpError}
 * @throws {TimeoutError}
 */
export async function getBytes(url: string, question: Question): Promise<Uint8Array> {
  return withDeadline(
    `GET ${url}`,
    question.limitMs,
    async (signal) => {
      const { statusCode, body } = await request(url, {
        signal,
        ...(question.dispatcher === undefined ? {} : { dispatcher: question.dispatcher }),
      });
      const parts: Uint8Array[] = [];
      let length = 0;
      for await (const part of body as AsyncIterable<Uint8Array>) {
        length += part.length;
        if (length > question.maxBytes) {
          throw new HttpError("too_large", `${url} answers with more than ${question.maxBytes} bytes`);
        }
        parts.push(part);
      }
      if (statusCode !== 200)
        throw new HttpError("status", `${url} answers with status ${statusCode}`, { statusCode });
      return new Uint8Array(Buffer.concat(parts));
    },
    question.signal,
  );
}

/** As {@link getBytes}, parsed as JSON. @throws {SyntaxError} it is none */
export async function getJson(url: string, question: Question): Promise<unknown> {
  return JSON.parse(Buffer.from(await getBytes(url, question)).toString("utf8"));
}
