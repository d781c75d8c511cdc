import { InputError } from "@dstack/core";
import { html } from "@dstack/daemon";
import type { Html } from "@dstack/daemon";

const SECONDS = 10;

/**
 * How often a page was asked to load itself again, in seconds; undefined when it was not.
 * @throws {InputError} more often than every five seconds, or no number
 */
export function parseRefresh(value: unknown): number | undefined {
  if (value === undefined) return undefined;
  const seconds = typeof value === "string" && /^\d{1,4}$/.test(value) ? Number(value) : 0;
  if (seconds < 5) throw new InputError("refresh must be a number of seconds, 5 or more");
  return seconds;
}

/** Links that have a page load itself again, and stop it. */
export function refreshLinks(path: string, refresh: number | undefined): Html {
  return html`<p class="bar">
    ${
      refresh === undefined
        ? html`<a href="${path}?refresh=${SECONDS}">Refresh every ${SECONDS} s</a>`
        : html`<strong>Refreshed every ${refresh} s</strong> <a href="${path}">Stop</a>`
    }
  </p>`;
}
