import { AsyncLocalStorage } from "node:async_hooks";
import { errorMessage } from "@dstack/core";
import { axios } from "acme-client";
import type { Dispatcher } from "undici";
import { CaError } from "../errors.js";
import { httpRequest, parseRetryAfter } from "../http.js";

// acme-client sends through one axios instance of its own that retries silently for minutes, cannot be aborted, and
// keeps of an error only a sentence. This adapter does the sending instead: one attempt, our limits and signal, the
// CA's roots, and problem documents (RFC 8555 §6.7) as errors with their type and Retry-After.

interface CallContext {
  ca: string;
  dispatcher: Dispatcher | undefined;
  signal: AbortSignal;
  /** Told the CA's clock with each answer, ms. */
  onDate(date: number): void;
}

const context = new AsyncLocalStorage<CallContext>();

/** Runs calls of acme-client in the context of one CA. */
export function callCa<T>(call: CallContext, work: () => Promise<T>): Promise<T> {
  return context.run(call, work);
}

const PROBLEM = "urn:ietf:params:acme:error:";

axios.defaults.adapter = async (config) => {
  const call = context.getStore();
  if (call === undefined) throw new Error("acme-client was called outside of callCa");
  const url = String(config.url);
  let answer;
  try {
    answer = await httpRequest(url, {
      method: String(config.method).toUpperCase() as "GET" | "HEAD" | "POST",
      headers: config.headers.toJSON() as Record<string, string>,
      dispatcher: call.dispatcher,
      signal: call.signal,
      ...(config.data === undefined ? {} : { body: String(config.data) }),
    });
  } catch (err) {
    call.signal.throwIfAborted();
    const why = errorMessage(err);
    throw new CaError("unreachable", `CA ${call.ca} cannot be reached at ${url}: ${why}`, {}, { cause: err });
  }
  call.onDate(Date.parse(answer.headers["date"] ?? ""));
  const problem = answer.status >= 400 ? readProblem(answer.text) : undefined;
  // The library itself repeats a request whose nonce was used up (RFC 8555 §6.5).
  if (answer.status >= 400 && problem?.type !== `${PROBLEM}badNonce`) {
    throw problemError(call.ca, answer, problem);
  }
  return {
    data: answer.text,
    status: answer.status,
    statusText: "",
    headers: answer.headers,
    config,
    request: undefined,
  };
};

interface Problem {
  type: string;
  detail: string;
}

function readProblem(text: string): Problem | undefined {
  try {
    const body = JSON.parse(text) as { type?: unknown; detail?: unknown };
    if (typeof body.type !== "string") return undefined;
    return { type: body.type, detail: typeof body.detail === "string" ? body.detail : "no detail" };
  } catch {
    return undefined;
  }
}

function problemError(
  ca: string,
  answer: { status: number; headers: Record<string, string>; text: string },
  problem: Problem | undefined,
): CaError {
  const type = problem?.type.replace(PROBLEM, "") ?? `status ${answer.status}`;
  const said = problem?.detail ?? answer.text.slice(0, 200);
  const retryAt = parseRetryAfter(answer.headers["retry-after"], Date.now());
  const details = { ca, status: answer.status, type, ...(retryAt === undefined ? {} : { retryAt }) };
  if (answer.status === 429 || type === "rateLimited") {
    const until = retryAt === undefined ? "" : ` (until ${retryAt.toISOString()})`;
    return new CaError("rate_limited", `CA ${ca} limits our rate${until}: ${said}`, details);
  }
  if (answer.status >= 500)
    return new CaError("unavailable", `CA ${ca} is in trouble: ${type}: ${said}`, details);
  if (type === "accountDoesNotExist" || (type === "unauthorized" && /account/i.test(said))) {
    return new CaError("account", `CA ${ca} does not accept our account: ${type}: ${said}`, details);
  }
  return new CaError("refused", `CA ${ca} refused: ${type}: ${said}`, details);
}
