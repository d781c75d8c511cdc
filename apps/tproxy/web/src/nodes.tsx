import { Problem, State, TypedDialog, duration, useAction } from "@dstack/dashboard/web";
import type { Mood } from "@dstack/dashboard/web";
import { useSignal } from "@preact/signals";
import type { NodeItem, SiteItem } from "../../src/dashboard/items.js";
import { call } from "./api.js";
import { nodeTime, nodes, site } from "./live.js";

function stateOf({ removed, alive, draining }: NodeItem): { status: string; mood: Mood } {
  if (removed) return { status: "removed", mood: "plain" };
  if (!alive) return { status: draining ? "down, drained" : "down", mood: "bad" };
  return draining ? { status: "drained", mood: "plain" } : { status: "up", mood: "good" };
}

/** How old what this node knows of the others is. */
function lastSync({ kind, as_of: asOf, trouble }: SiteItem["store"]): string {
  if (kind === "file") return "not needed: nobody else writes";
  const when = asOf === 0 ? "not since this start" : `${duration(nodeTime.value - asOf)} ago`;
  return trouble === undefined ? when : `${when}: ${trouble}`;
}

/** Where registrations are, and how far this node knows them. */
function StoreFacts() {
  const store = site.value?.store;
  if (store === undefined) return null;
  return (
    <dl>
      <dt>Store</dt>
      <dd>
        {store.kind === "file" ? "a journal on this node: it is the only one" : "etcd, which all nodes share"}
      </dd>
      <dt>Last sync</dt>
      <dd>{lastSync(store)}</dd>
    </dl>
  );
}

function Row({ node, onRemove }: { node: NodeItem; onRemove: () => void }) {
  const { run, busy, problem } = useAction();
  const method = node.draining ? "ResumeNode" : "DrainNode";
  const word = node.draining ? "Resume" : "Drain";
  return (
    <tr>
      <th scope="row">
        {node.name} {node.self && <span class="quiet">(this one)</span>}
      </th>
      <td data-label="State">
        <State {...stateOf(node)} />
      </td>
      <td data-label="Address">{node.ip}</td>
      <td data-label="Gives">{node.client_range}</td>
      <td data-label="Endpoint">{node.endpoint}</td>
      <td class="actions">
        <div class="bar">
          {!node.removed && (
            <button
              type="button"
              disabled={busy.value}
              aria-label={`${word} ${node.name}`}
              onClick={() => run(async () => void (await call(method, { name: node.name })))}
            >
              {word}
            </button>
          )}
          {!node.alive && !node.removed && (
            <button type="button" class="danger" aria-label={`Remove ${node.name}…`} onClick={onRemove}>
              Remove…
            </button>
          )}
        </div>
        <Problem text={problem.value} />
      </td>
    </tr>
  );
}

function RemoveNode({ name, onClose }: { name: string; onClose: () => void }) {
  const remove = async (): Promise<void> => {
    await call("RemoveNode", { name });
    onClose();
  };
  return (
    <TypedDialog
      title={`Remove node ${name}?`}
      name={name}
      button="Remove it"
      action={remove}
      onClose={onClose}
    >
      <p>
        Guests are no longer told of it. Its addresses stay with the guests that have them. It comes back when
        it is started again.
      </p>
    </TypedDialog>
  );
}

/** The nodes of this tproxy. */
export function Nodes() {
  const removing = useSignal<string | undefined>(undefined);
  return (
    <>
      <h1>Nodes</h1>
      <p class="quiet">
        A drained node takes no new connections, and answers its health check with an error; open ones go on.
      </p>
      <StoreFacts />
      <table class="stacked">
        <thead>
          <tr>
            <th scope="col">Node</th>
            <th scope="col">State</th>
            <th scope="col">Address</th>
            <th scope="col">Gives</th>
            <th scope="col">Endpoint</th>
            <th scope="col">Change</th>
          </tr>
        </thead>
        <tbody>
          {nodes.value?.map((node) => (
            <Row key={node.name} node={node} onRemove={() => (removing.value = node.name)} />
          ))}
        </tbody>
      </table>
      {removing.value !== undefined && (
        <RemoveNode name={removing.value} onClose={() => (removing.value = undefined)} />
      )}
    </>
  );
}
