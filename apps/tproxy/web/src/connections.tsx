import { Problem, SearchField, connection as live, duration, wordsOf } from "@dstack/dashboard/web";
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { call } from "./api.js";
import { bytes } from "./bytes.js";
import { Id } from "./id.js";
import { nodeTime } from "./live.js";
import { route } from "./route.js";
import type { Connection, Connections as Answer } from "./wire.js";

const MOST = 200;
const EVERY_MS = 3_000;

function Row({ connection }: { connection: Connection }) {
  return (
    <tr>
      <th scope="row">{connection.source}</th>
      <td data-label="Name">{connection.server_name === "" ? "none yet" : connection.server_name}</td>
      <td data-label="State">{connection.state}</td>
      <td data-label="Instance">
        {connection.instance_id === "" ? "none yet" : <Id id={connection.instance_id} />}
      </td>
      <td data-label="For" class="number">
        {duration(nodeTime.value - connection.since)}
      </td>
      <td data-label="To app / client" class="number">
        {bytes(connection.bytes_to_app)} / {bytes(connection.bytes_to_client)}
      </td>
    </tr>
  );
}

function said({ connections, open }: Answer, search: string): string {
  if (open === 0) return "No connection is open on this node.";
  if (connections.length === 0) return "No open connection has this in it.";
  const all = search === "" && connections.length === open;
  return all ? `${open} open, the newest first.` : `${connections.length} of ${open} open, the newest first.`;
}

/** What is open on this node, asked for again and again. */
export function Connections() {
  const search = useSignal(route.value.page === "connections" ? route.value.search : "");
  const answer = useSignal<Answer | undefined>(undefined);
  const problem = useSignal("");
  const wanted = search.value.trim();
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let over = false;
    const look = async (): Promise<void> => {
      try {
        const next = await call<Answer>("ListConnections", { most: MOST, search: wanted });
        if (over) return;
        answer.value = next;
        problem.value = "";
      } catch (err) {
        // That nobody answers stands above already.
        if (!over) problem.value = live.value === "lost" ? "" : wordsOf(err);
      }
      if (!over) timer = setTimeout(() => void look(), EVERY_MS);
    };
    void look();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [wanted]);
  return (
    <>
      <h1>Connections</h1>
      <div class="bar">
        <SearchField search={search} placeholder="name, id, source or state">
          {answer.value !== undefined && said(answer.value, wanted)}
        </SearchField>
      </div>
      <Problem text={problem.value} />
      {answer.value !== undefined && answer.value.connections.length > 0 && (
        <table class="stacked">
          <thead>
            <tr>
              <th scope="col">Source</th>
              <th scope="col">Name</th>
              <th scope="col">State</th>
              <th scope="col">Instance</th>
              <th scope="col">For</th>
              <th scope="col">To app / client</th>
            </tr>
          </thead>
          <tbody>
            {answer.value.connections.map((connection) => (
              <Row key={connection.id} connection={connection} />
            ))}
          </tbody>
        </table>
      )}
    </>
  );
}
