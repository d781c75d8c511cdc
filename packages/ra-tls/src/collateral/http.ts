import { request as httpRequest } from "node:http";
import type { IncomingHttpHeaders } from "node:http";
import { request as httpsRequest } from "node:https";
import type { RequestOptions } from "node:https";

/** TCB info takes about 10 KB, a CRL 3; a CRL of 1 MiB is the longest `@dstack/attestation` reads, here as hex. */
export const MAX_BODY_BYTES = 2 * 1024 * 1024 + 1024;
/** Issuer chains stand percent-encoded in a header, 3 KB each. */
const MAX_HEADER_BYTES = 64 * 1024;

export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Uint8Array;
}

/**
 * One GET of a bounded answer. Redirects are not followed: where collateral comes from is for the configuration to say.
 * @param options.ca PEM certificates that a TLS server must chain to, in place of the system's
 * @param options.limitMs for all of it, down to the last byte
 */
export async function httpGet(
  url: URL,
  options: { readonly ca?: string | undefined; readonly limitMs: number; readonly signal: AbortSignal },
): Promise<HttpAnswer> {
  const signal = AbortSignal.any([options.signal, AbortSignal.timeout(options.limitMs)]);
  const settings: RequestOptions = {
    agent: false,
    maxHeaderSize: MAX_HEADER_BYTES,
    signal,
    ...(options.ca === undefined ? {} : { ca: options.ca }),
  };
  const request = url.protocol === "https:" ? httpsRequest : httpRequest;
  return new Promise((resolve, reject) => {
    // The signal's own reason says more than "aborted".
    const fail = (err: Error): void => reject(signal.aborted ? (signal.reason as Error) : err);
    const outgoing = request(url, settings, (incoming) => {
      const chunks: Uint8Array[] = [];
      let length = 0;
      incoming.on("data", (chunk: Uint8Array) => {
        length += chunk.length;
        if (length > MAX_BODY_BYTES) {
          outgoing.destroy();
          reject(new AnswerTooLargeError(`the answer is larger than ${MAX_BODY_BYTES} bytes`));
        }
        chunks.push(chunk);
      });
      incoming.on("end", () => {
        const { statusCode: status = 0, headers } = incoming;
        resolve({ status, headers, body: new Uint8Array(Buffer.concat(chunks)) });
      });
      incoming.on("error", fail);
    });
    outgoing.on("error", fail);
    outgoing.end();
  });
}

/** Asking again would give the same. */
export class AnswerTooLargeError extends Error {
  override name = "AnswerTooLargeError";
}
