import { SearchField } from "@dstack/dashboard/web";
import { useSignal } from "@preact/signals";
import type { InstanceItem } from "../../../src/dashboard/items.js";
import { instances, site } from "../live.js";
import { RemoveInstance } from "./remove-dialog.js";
import { Row } from "./row.js";

/** More rows help nobody and make the page slow. */
const MOST_ROWS = 300;

function Empty() {
  return (
    <section class="empty">
      <p>No instance is registered here yet.</p>
      <p>
        CVMs register by themselves when they boot: deploy an app on a host whose teepod names this tproxy
        under <code>tproxy_url</code>.
      </p>
    </section>
  );
}

/** What the whole node is at, in a sentence. */
function Summary({ count }: { count: number }) {
  const { connections = 0 } = site.value ?? {};
  return (
    <p class="quiet">
      {count} {count === 1 ? "instance" : "instances"}, {connections} open{" "}
      {connections === 1 ? "connection" : "connections"} on this node. Traffic is what went through each
      tunnel since this node knows it.
    </p>
  );
}

function found(list: readonly InstanceItem[], search: string): readonly InstanceItem[] {
  const wanted = search.trim().toLowerCase();
  if (wanted === "") return list;
  return list.filter((one) =>
    [one.id, one.app_id, one.registered?.ip ?? ""].some((text) => text.includes(wanted)),
  );
}

/** All instances that are registered, or drained, as this node sees them. */
export function Instances() {
  const search = useSignal("");
  const removing = useSignal<string | undefined>(undefined);
  const list = instances.value;
  if (list === undefined) return <p class="quiet">Asking tproxy for its instances…</p>;
  const shown = found(list, search.value);
  return (
    <>
      <h1>Instances</h1>
      {list.length === 0 ? (
        <Empty />
      ) : (
        <>
          <Summary count={list.length} />
          <div class="bar">
            <SearchField search={search} placeholder="app, instance or address">
              {shown.length > MOST_ROWS && `The first ${MOST_ROWS} of ${shown.length}; search for others.`}
              {shown.length === 0 && "Nothing here has this in its app id, instance id or address."}
            </SearchField>
          </div>
          {shown.length > 0 && (
            <table class="stacked">
              <thead>
                <tr>
                  <th scope="col">Instance</th>
                  <th scope="col">App</th>
                  <th scope="col">State</th>
                  <th scope="col">Address</th>
                  <th scope="col">Heard</th>
                  <th scope="col">Open</th>
                  <th scope="col">Traffic in / out</th>
                  <th scope="col">Change</th>
                </tr>
              </thead>
              <tbody>
                {shown.slice(0, MOST_ROWS).map((one) => (
                  <Row key={one.id} instance={one} onRemove={() => (removing.value = one.id)} />
                ))}
              </tbody>
            </table>
          )}
        </>
      )}
      {removing.value !== undefined && (
        <RemoveInstance id={removing.value} onClose={() => (removing.value = undefined)} />
      )}
    </>
  );
}
