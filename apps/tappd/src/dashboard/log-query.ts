import type { LogQuery } from "../docker/log-query.js";
import { InputError } from "@dstack/core";

/** What a log page can be asked for, besides following. */
export const TAILS = [100, 1000, 5000] as const;
const DEFAULT_TAIL = 100;

export interface LogView {
  readonly tail: number;
  readonly timestamps: boolean;
  readonly follow: boolean;
}

/** @throws {InputError} something that no link of the page says */
export function parseLogView(query: Readonly<Record<string, unknown>>): LogView {
  const tail = query["tail"] === undefined ? DEFAULT_TAIL : Number(query["tail"]);
  if (!TAILS.some((known) => known === tail)) throw new InputError(`tail must be one of ${TAILS.join(", ")}`);
  return { tail, timestamps: query["timestamps"] !== undefined, follow: query["follow"] !== undefined };
}

/** The same as a query, for links. */
export function logViewLink(name: string, { tail, timestamps, follow }: LogView): string {
  const flags = `${timestamps ? "&timestamps" : ""}${follow ? "&follow" : ""}`;
  return `/containers/${encodeURIComponent(name)}?tail=${tail}${flags}`;
}

/** What the engine is asked for. */
export function engineQuery({ tail, timestamps, follow }: LogView): LogQuery {
  return { since: 0, until: 0, tail, timestamps, follow, text: true, bare: true, ansi: false };
}
