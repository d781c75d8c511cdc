import { html } from "@dstack/daemon";
import type { Html } from "@dstack/daemon";
import { logText } from "../docker/log-lines.js";
import type { LogFrame } from "../docker/log-frames.js";
import { TAILS, logViewLink } from "./log-query.js";
import type { LogView } from "./log-query.js";
import { around } from "./page.js";
import type { Around } from "./page.js";
import { Tail } from "./tail.js";

/** Of a log that is not followed, its newest part: pages wait in memory for slow readers, up to 32 at a time. */
const MAX_SHOWN_BYTES = 256 * 1024;
/** After these, following ends; the reader may follow again. */
const MAX_FOLLOWED_BYTES = 4 * 2 ** 20;

/** Above the log: which part of it this is, and the other ways to see it. */
export function logControls(name: string, view: LogView): Html {
  const choice = (text: string, chosen: boolean, change: Partial<LogView>): Html =>
    chosen
      ? html`<strong aria-current="true">${text}</strong> `
      : html`<a href="${logViewLink(name, { ...view, ...change })}">${text}</a> `;
  const whole = `/logs/${encodeURIComponent(name)}?since=0&text&bare&timestamps`;
  return html`<p class="bar">
      <a href="/containers">All containers</a> <a href="${whole}" download="${name}.log">Download</a>
    </p>
    <p class="bar">Lines: ${TAILS.map((tail) => choice(`last ${tail}`, tail === view.tail, { tail }))}</p>
    <p class="bar">
      ${choice("Without times", !view.timestamps, { timestamps: false })}
      ${choice("With times", view.timestamps, { timestamps: true })}
      ${choice("As it was", !view.follow, { follow: false })}
      ${choice("Follow", view.follow, { follow: true })}
    </p>`;
}

/** The log as it was when it was asked for; a log that breaks off is shown as far as it came. */
export async function* shownLog(name: string, frames: AsyncIterable<LogFrame>): AsyncGenerator<string> {
  const tail = new Tail(MAX_SHOWN_BYTES);
  let broken = false;
  try {
    for await (const piece of logText(frames, { ansi: false })) tail.push(lineOf(piece));
  } catch {
    broken = true;
  }
  if (tail.isEmpty && !broken)
    return yield html`<p class="empty">This container has not written anything yet.</p>`.text;
  if (tail.dropped)
    yield html`<p class="quiet">What is older is left out here: download the log to see all of it.</p>`.text;
  const { before, after } = consoleAround(name);
  yield before;
  yield* tail.pieces();
  yield after;
  if (broken) yield html`<p class="problem">The log broke off here.</p>`.text;
}

/**
 * The log as it is written, until its container ends, too much was sent, or the time for following is over.
 * @param again where following goes on
 */
export async function* followedLog(
  name: string,
  frames: AsyncIterable<LogFrame>,
  again: string,
): AsyncGenerator<string> {
  let sent = 0;
  const { before, after } = consoleAround(name);
  yield before;
  try {
    for await (const piece of logText(frames, { ansi: false })) {
      const line = lineOf(piece);
      yield line;
      sent += line.length;
      if (sent > MAX_FOLLOWED_BYTES) break;
    }
  } catch {
    // The time is over, or the engine ended it: said below either way.
  }
  yield after;
  yield html`<p class="banner">The log is followed no further. <a href="${again}">Follow it again</a></p>`
    .text;
}

function lineOf({ channel, message }: { channel: string; message: string }): string {
  return (channel === "stderr" ? html`<span class="stderr">${message}</span>` : html`${message}`).text;
}

// A line feed right behind <pre> is not part of its text: without this one the log's own first one would be lost.
const consoleAround = (name: string): Around =>
  around(
    (lines) =>
      html`<div class="console" role="region" aria-label="Log of ${name}" tabindex="0">
        <pre>${FIRST}${lines}</pre>
      </div>`,
  );
const FIRST = "\n";
