import { errorCode, errorMessage, sleep } from "@dstack/core";
import { AnswerTooLargeError, httpGet } from "./http.js";
import type { HttpAnswer } from "./http.js";
import { CollateralError } from "./source.js";

const MAX_ATTEMPTS = 4;
const FIRST_BACKOFF_MS = 250;
/** Longest pause within one fetch; a service that wants more is left alone until then. */
export const MAX_PAUSE_MS = 5_000;
const ANSWER_LIMIT_MS = 10_000;

const TRANSIENT_STATUSES: ReadonlySet<number> = new Set([408, 425, 429, 500, 502, 503, 504]);
/** How Node says that a server's certificate is not signed by anybody we trust. */
const UNTRUSTED_TLS: ReadonlySet<string> = new Set([
  "DEPTH_ZERO_SELF_SIGNED_CERT",
  "SELF_SIGNED_CERT_IN_CHAIN",
  "UNABLE_TO_GET_ISSUER_CERT",
  "UNABLE_TO_GET_ISSUER_CERT_LOCALLY",
  "UNABLE_TO_VERIFY_LEAF_SIGNATURE",
  "CERT_HAS_EXPIRED",
  "ERR_TLS_CERT_ALTNAME_INVALID",
]);

/** What tests replace: waiting and chance. */
export interface RetryParts {
  readonly pause?: (ms: number, signal: AbortSignal) => Promise<void>;
  /** As `Math.random`. */
  readonly random?: () => number;
}

export interface RetryOptions extends RetryParts {
  readonly ca?: string | undefined;
  readonly signal: AbortSignal;
  /** Unix seconds: a `Retry-After` may be a date. */
  readonly now: number;
}

/**
 * GET with up to three more attempts where the failure may pass: no connection, 429, 5xx. The pause is what
 * `Retry-After` asks for, else it doubles, cut by chance so that many clients do not come back together.
 * @returns an answer with any other status, or the last one
 * @throws {CollateralError} `unreachable`; `details.retryAfterS` when the service wants to be left alone for longer
 * than {@link MAX_PAUSE_MS}
 */
export async function getWithRetries(url: URL, options: RetryOptions): Promise<HttpAnswer> {
  const { pause = sleep, random = Math.random, signal } = options;
  for (let attempt = 1; ; attempt++) {
    const outcome = await attemptGet(url, options);
    if ("answer" in outcome) return outcome.answer;
    const { failure, retryAfterMs } = outcome;
    if (retryAfterMs !== undefined && retryAfterMs > MAX_PAUSE_MS) {
      const retryAfterS = Math.ceil(retryAfterMs / 1000);
      throw unreachable(url, `${failure.message}, to be asked again in ${retryAfterS} s`, failure.cause, {
        retryAfterS,
      });
    }
    if (attempt === MAX_ATTEMPTS) throw unreachable(url, failure.message, failure.cause);
    const backoffMs = Math.min(FIRST_BACKOFF_MS * 2 ** (attempt - 1), MAX_PAUSE_MS) * random();
    await pause(retryAfterMs === undefined ? backoffMs : retryAfterMs + FIRST_BACKOFF_MS * random(), signal);
  }
}

type Outcome =
  | { readonly answer: HttpAnswer }
  | { readonly failure: { message: string; cause?: unknown }; readonly retryAfterMs?: number };

async function attemptGet(url: URL, { ca, signal, now }: RetryOptions): Promise<Outcome> {
  try {
    const answer = await httpGet(url, { ca, limitMs: ANSWER_LIMIT_MS, signal });
    if (!TRANSIENT_STATUSES.has(answer.status)) return { answer };
    const retryAfterMs = readRetryAfter(answer.headers["retry-after"], now);
    const failure = { message: `status ${answer.status}` };
    return retryAfterMs === undefined ? { failure } : { failure, retryAfterMs };
  } catch (err) {
    signal.throwIfAborted();
    const code = errorCode(err);
    if (code !== undefined && UNTRUSTED_TLS.has(code)) {
      const advice = "a PCCS has a certificate of its own: name its CA in pccs_ca_file";
      throw unreachable(url, `its TLS certificate is not trusted (${errorMessage(err)}); ${advice}`, err);
    }
    if (err instanceof AnswerTooLargeError) throw unreachable(url, err.message, err);
    const timedOut = err instanceof Error && err.name === "TimeoutError";
    const message = timedOut ? `no whole answer within ${ANSWER_LIMIT_MS} ms` : errorMessage(err);
    return { failure: { message, cause: err } };
  }
}

/** Seconds or a date (RFC 9110 §10.2.3), as milliseconds from `now`. */
function readRetryAfter(value: string | undefined, now: number): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value) * 1000;
  const at = Date.parse(value);
  return Number.isNaN(at) ? undefined : Math.max(0, at - now * 1000);
}

function unreachable(url: URL, why: string, cause?: unknown, details = {}): CollateralError {
  const message = `fetching collateral from ${url.host}${url.pathname}: ${why}`;
  return new CollateralError("unreachable", message, details, { cause });
}
