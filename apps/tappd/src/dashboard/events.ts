import type { EventLogEntry } from "@dstack/attestation";
import { html } from "@dstack/daemon";
import type { Html } from "@dstack/daemon";
import type { Measured } from "../quote/measurements.js";
import { digestFits, replayRegisters } from "../quote/replay.js";
import type { ReplayedRegister } from "../quote/replay.js";
import { readablePayload } from "./payload.js";
import { replayResult } from "./registers.js";

/** The event log, register by register: what was measured, and whether it explains the register's value. */
export function eventsPage(measured: Measured): Html {
  return html`<p>
      Every event extends its register by its digest; the registers are in the quote. Names and payloads of
      RTMR3 are proven by their digests. Those of RTMR0 to RTMR2 are what firmware and kernel noted, and prove
      nothing by themselves.
    </p>
    ${replayRegisters(measured).map(registerSection)}`;
}

function registerSection(register: ReplayedRegister): Html {
  const { name, quoted, events } = register;
  const id = name.toLowerCase();
  return html`<section aria-labelledby="${id}">
    <h2 id="${id}">${name}</h2>
    <p><code>${quoted}</code><br />${replayResult(register)}</p>
    ${events.length === 0 ? html`<p class="empty">No event was measured into this register.</p>` : table(id, events)}
  </section> `;
}

function table(id: string, events: readonly EventLogEntry[]): Html {
  const ready = events.findIndex(({ event }) => event === "system-ready");
  return html`<div class="scroll" role="region" aria-labelledby="${id}" tabindex="0">
    <table>
      <thead>
        <tr>
          <th scope="col">Event</th>
          <th scope="col">Payload</th>
          <th scope="col">Digest</th>
        </tr>
      </thead>
      <tbody>
        ${events.map((event, index) => row(event, ready !== -1 && index > ready))}
      </tbody>
    </table>
  </div>`;
}

/** @param ofApp after `system-ready`: the app's own, and never its identity (E3) */
function row(event: EventLogEntry, ofApp: boolean): Html {
  const name = event.event === "" ? `type 0x${event.event_type.toString(16)}` : event.event;
  const { kind, text } = readablePayload(event.event_payload);
  return html`<tr>
    <td>${name} ${ofApp ? html`<br /><span class="quiet">by the app itself</span>` : ""}</td>
    <td class="wide">
      ${kind === "empty" ? html`<span class="quiet">empty</span>` : html`<code>${text}</code>`}
    </td>
    <td class="wide"><code>${event.digest}</code>${event.imr === 3 ? fit(event) : ""}</td>
  </tr> `;
}

function fit(event: EventLogEntry): Html {
  return digestFits(event)
    ? html`<br /><span class="good">is that of name and payload</span>`
    : html`<br /><span class="bad">is not that of name and payload</span>`;
}
