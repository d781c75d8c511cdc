import { errorMessage, sleep } from "@dstack/core";
import { DnsError } from "../errors.js";
import { type HttpAnswer, type HttpQuestion, httpRequest, parseRetryAfter } from "../http.js";

const ATTEMPTS = 4;
const FIRST_WAIT_MS = 500;
/** A provider that asks for a longer pause has stopped us for this run. */
const MAX_WAIT_MS = 60_000;

/**
 * One call of a DNS provider's HTTP API. Answers of a busy service (429, 5xx) are waited for, as long as it says up to
 * a minute, a few times; all calls made through this must therefore bear being repeated.
 * @throws {DnsError} `unreachable`, `rate_limited`, `denied` (401, 403); other answers are returned
 */
export async function callDnsApi(
  provider: string,
  url: string,
  question: HttpQuestion & { signal: AbortSignal },
): Promise<HttpAnswer> {
  for (let attempt = 1; ; attempt++) {
    const answer = await once(provider, url, question);
    const busy = answer.status === 429 || answer.status >= 500;
    if (!busy) return checkAccess(provider, answer);
    const now = Date.now();
    const asked = parseRetryAfter(answer.headers["retry-after"], now)?.getTime();
    const waitMs = Math.max(0, asked === undefined ? FIRST_WAIT_MS * 2 ** (attempt - 1) : asked - now);
    if (attempt === ATTEMPTS || waitMs > MAX_WAIT_MS) {
      const status = answer.status;
      const code = status === 429 ? "rate_limited" : "unreachable";
      const said = asked === undefined ? "" : ` and asks to wait until ${new Date(asked).toISOString()}`;
      throw new DnsError(code, `${provider} answers ${status}${said}`, { status });
    }
    await sleep(waitMs, question.signal);
  }
}

async function once(provider: string, url: string, question: HttpQuestion): Promise<HttpAnswer> {
  try {
    return await httpRequest(url, question);
  } catch (err) {
    question.signal?.throwIfAborted();
    const why = errorMessage(err);
    throw new DnsError("unreachable", `${provider} cannot be reached: ${why}`, {}, { cause: err });
  }
}

function checkAccess(provider: string, answer: HttpAnswer): HttpAnswer {
  if (answer.status !== 401 && answer.status !== 403) return answer;
  throw new DnsError(
    "denied",
    `${provider} does not accept the credentials (${answer.status}): check that they are valid and may edit this zone`,
    { status: answer.status, answer: answer.text.slice(0, 500) },
  );
}
