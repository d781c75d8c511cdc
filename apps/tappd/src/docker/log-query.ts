import { InputError, parseWhen } from "@dstack/core";

/** What `GET /logs/<container>` was asked for. Times are Unix seconds; 0 stands for "no limit", as in Docker's API. */
export interface LogQuery {
  since: number;
  until: number;
  /** Number of last lines, or all of them. */
  tail: number | "all";
  follow: boolean;
  /** Text instead of base64; terminal escape sequences are left out unless `ansi`. */
  text: boolean;
  timestamps: boolean;
  /** The log's bytes alone, without JSON around them. */
  bare: boolean;
  ansi: boolean;
}

const DEFAULT_SINCE_SECONDS = 3600;
const MAX_TAIL_LINES = 10_000_000;

/**
 * Reads the query of a log request.
 * @param query the decoded query parameters; a parameter given twice arrives as an array
 * @param now Unix seconds; durations count back from here
 * @throws {InputError} naming the parameter that does not fit
 */
export function parseLogQuery(query: Readonly<Record<string, unknown>>, now: number): LogQuery {
  const text = (name: string): string | undefined => {
    const value = query[name];
    if (value === undefined || typeof value === "string") return value;
    throw new InputError(`${name} must be given once`);
  };
  const flag = (name: string): boolean => parseFlag(name, text(name));
  return {
    since: parseTime("since", text("since"), now) ?? Math.max(0, now - DEFAULT_SINCE_SECONDS),
    until: parseTime("until", text("until"), now) ?? 0,
    tail: parseTail(text("tail")),
    follow: flag("follow"),
    text: flag("text"),
    timestamps: flag("timestamps"),
    bare: flag("bare"),
    ansi: flag("ansi"),
  };
}

function parseFlag(name: string, value: string | undefined): boolean {
  if (value === undefined || value === "false" || value === "0") return false;
  if (value === "" || value === "true" || value === "1") return true;
  throw new InputError(`${name} must be true or false`);
}

function parseTime(name: string, value: string | undefined, now: number): number | undefined {
  if (value === undefined || value === "") return undefined;
  const time = parseWhen(name, value, now);
  // Before 1970 is "everything"; a 0 would mean that for `until` too, so there it is the first second instead.
  return time >= 0 ? time : name === "until" ? 1 : 0;
}

function parseTail(value: string | undefined): number | "all" {
  if (value === undefined || value === "" || value === "all") return "all";
  if (!/^\d{1,8}$/.test(value) || Number(value) > MAX_TAIL_LINES) {
    throw new InputError(`tail must be "all" or a number of lines up to ${MAX_TAIL_LINES}`);
  }
  return Number(value);
}
