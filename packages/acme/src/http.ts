import { withDeadline } from "@dstack/core";
import { type Dispatcher, request } from "undici";

/** Longer answers are no certificate chain and no page of DNS records. */
const MAX_ANSWER_BYTES = 4 * 2 ** 20;
const ANSWER_LIMIT_MS = 30_000;

export interface HttpAnswer {
  status: number;
  /** Lower-case names; of repeated ones the first. */
  headers: Record<string, string>;
  text: string;
}

export interface HttpQuestion {
  method: "GET" | "HEAD" | "POST" | "PUT" | "DELETE";
  headers?: Record<string, string>;
  body?: string;
  dispatcher?: Dispatcher | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * One request, its answer read whole; nothing is retried, no redirect is followed.
 * @throws a network error, {@link TimeoutError} after 30 s, the signal's reason, or an error for an answer over 4 MiB
 */
export async function httpRequest(url: string, question: HttpQuestion): Promise<HttpAnswer> {
  const { method, headers, body, dispatcher } = question;
  return withDeadline(
    `${method} ${new URL(url).origin}`,
    ANSWER_LIMIT_MS,
    async (signal) => {
      const answer = await request(url, {
        method,
        signal,
        ...(headers === undefined ? {} : { headers }),
        ...(body === undefined ? {} : { body }),
        ...(dispatcher === undefined ? {} : { dispatcher }),
      });
      const parts: Uint8Array[] = [];
      let length = 0;
      for await (const part of answer.body as AsyncIterable<Uint8Array>) {
        length += part.length;
        if (length > MAX_ANSWER_BYTES) throw new Error(`the answer is longer than ${MAX_ANSWER_BYTES} bytes`);
        parts.push(part);
      }
      const flat = Object.entries(answer.headers).map(([name, value]) => [
        name,
        Array.isArray(value) ? value[0] : value,
      ]);
      return {
        status: answer.statusCode,
        headers: Object.fromEntries(flat) as Record<string, string>,
        text: Buffer.concat(parts).toString("utf8"),
      };
    },
    question.signal,
  );
}

/** RFC 9110 §10.2.3: seconds or a date. */
export function parseRetryAfter(value: string | undefined, now: number): Date | undefined {
  if (value === undefined) return undefined;
  const at = /^\d{1,9}$/.test(value) ? now + Number(value) * 1000 : Date.parse(value);
  return Number.isNaN(at) ? undefined : new Date(at);
}
