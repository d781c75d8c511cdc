import { signal } from "@preact/signals";
import { PROGRAM } from "./program.js";

/** Where this page's half of the session's id is kept; the other half is the cookie: see `src/cookie.ts`. */
const PAGE_HALF = `${PROGRAM}-page`;

/** The header without which the daemon takes no session. */
function pageHeader(): Readonly<Record<string, string>> {
  return { [`x-${PROGRAM}-page`]: localStorage.getItem(PAGE_HALF) ?? "none" };
}

/** Begins a session. @throws {ApiError} */
export async function logIn(token: string): Promise<void> {
  const { page } = await post<{ readonly page: string }>("/login", { token });
  localStorage.setItem(PAGE_HALF, page);
  signedIn.value = "yes";
}

/** Ends the session, as far as the daemon can be told. */
export async function endSession(): Promise<void> {
  await post("/logout", {}).catch(() => {});
  localStorage.removeItem(PAGE_HALF);
}

/** Whether this browser has a session, as far as known. */
export const signedIn = signal<"unknown" | "yes" | "no">("unknown");

/** There was a session, and it has ended without being asked to. */
export const sessionOver = signal(false);

/** A request that failed, with a sentence for people. */
export class ApiError extends Error {
  override name = "ApiError";
  constructor(
    /** HTTP status; 0 when nobody answered. */
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

const UNREACHABLE = `${PROGRAM} does not answer. It may be starting again, or this computer cannot reach it. Whether it got the request is not known.`;

interface PageRequest extends Omit<RequestInit, "headers"> {
  readonly headers?: Readonly<Record<string, string>>;
}

/** A request of this page. @throws {ApiError} */
export async function request(path: string, init: PageRequest = {}): Promise<Response> {
  let answer: Response;
  try {
    answer = await fetch(path, { ...init, headers: { ...pageHeader(), ...init.headers } });
  } catch (err) {
    if (init.signal?.aborted === true) throw err;
    throw new ApiError(0, UNREACHABLE);
  }
  if (answer.ok) return answer;
  if (answer.status === 401 && path !== "/login") {
    sessionOver.value = signedIn.value === "yes";
    signedIn.value = "no";
  }
  throw new ApiError(answer.status, await sentenceOf(answer));
}

async function sentenceOf(answer: Response): Promise<string> {
  const text = await answer.text().catch(() => "");
  try {
    const { error } = JSON.parse(text) as { error?: unknown };
    if (typeof error === "string" && error !== "") return sentence(error);
  } catch {
    // No answer of the daemon's.
  }
  return `${PROGRAM} answered with status ${answer.status}.`;
}

/** Errors of the wire begin in lower case and end without a stop. */
function sentence(text: string): string {
  const capital = /^[a-z]+_/.test(text) ? text : text.charAt(0).toUpperCase() + text.slice(1);
  return /[.!?…]$/.test(capital) ? capital : `${capital}.`;
}

/** Posts JSON. @throws {ApiError} */
export async function post<T>(path: string, body: unknown): Promise<T> {
  const answer = await request(path, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  return (await answer.json()) as T;
}

/** What anything thrown says to people. */
export function wordsOf(err: unknown): string {
  return err instanceof Error ? err.message : String(err);
}
