import { Problem, State, duration, useAction } from "@dstack/dashboard/web";
import type { Mood } from "@dstack/dashboard/web";
import type { InstanceItem } from "../../../src/dashboard/items.js";
import { call } from "../api.js";
import { bytes } from "../bytes.js";
import { Id } from "../id.js";
import { nodeTime } from "../live.js";
import { connectionsLink } from "../route.js";

/** The proxy leaves out who was not heard for so long, while another instance of the app was. */
const SILENT_MS = 200_000;

function stateOf({ draining, registered }: InstanceItem): { status: string; mood: Mood } {
  if (registered === undefined) return { status: "drained, gone", mood: "plain" };
  if (draining) return { status: "drained", mood: "plain" };
  return nodeTime.value - registered.handshake > SILENT_MS
    ? { status: "silent", mood: "bad" }
    : { status: "in use", mood: "good" };
}

function heard({ registered }: InstanceItem): string {
  if (registered === undefined) return "";
  if (registered.handshake === 0) return "never";
  return `${duration(nodeTime.value - registered.handshake)} ago`;
}

/** One instance and what can be done with it. */
export function Row({ instance, onRemove }: { instance: InstanceItem; onRemove: () => void }) {
  const { run, busy, problem } = useAction();
  const { id, app_id: appId, draining, connections, registered } = instance;
  const change = (method: string): void => run(async () => void (await call(method, { id })));
  const short = id.slice(0, 12);
  return (
    <tr>
      <th scope="row">
        <Id id={id} />
      </th>
      <td data-label="App">
        <Id id={appId} />
      </td>
      <td data-label="State">
        <State {...stateOf(instance)} />
      </td>
      <td data-label="Address">{registered?.ip ?? "none"}</td>
      <td data-label="Heard" class="number">
        {heard(instance)}
      </td>
      <td data-label="Open" class="number">
        {connections === 0 ? (
          "0"
        ) : (
          <a href={connectionsLink(id)} aria-label={`${connections} connections of ${short}`}>
            {connections}
          </a>
        )}
      </td>
      <td data-label="Traffic in / out" class="number">
        {registered !== undefined && `${bytes(registered.to_instance)} / ${bytes(registered.from_instance)}`}
      </td>
      <td class="actions">
        <div class="bar">
          {draining ? (
            <button
              type="button"
              disabled={busy.value}
              aria-label={`Resume ${short}`}
              onClick={() => change("ResumeInstance")}
            >
              Resume
            </button>
          ) : (
            <button
              type="button"
              disabled={busy.value}
              aria-label={`Drain ${short}`}
              onClick={() => change("DrainInstance")}
            >
              Drain
            </button>
          )}
          <button type="button" class="danger" aria-label={`Remove ${short}…`} onClick={onRemove}>
            Remove…
          </button>
        </div>
        <Problem text={problem.value} />
      </td>
    </tr>
  );
}
