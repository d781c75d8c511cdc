import { html } from "@dstack/daemon";
import type { Html } from "@dstack/daemon";
import type { ReplayedRegister } from "../quote/replay.js";

/** What replaying gave, in words. */
export function replayResult({ equal, events, replayed }: ReplayedRegister): Html {
  if (!equal)
    return html`<span class="bad">Not equal: replaying the log gives <code>${replayed}</code>.</span>`;
  const count = events.length === 1 ? "its one event" : `its ${events.length} events`;
  return html`<span class="good">Equal: replaying ${count} gives this value.</span>`;
}
