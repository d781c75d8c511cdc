import { SearchField } from "@dstack/dashboard/web";
import { hosts, mayChange, vms } from "../live.js";
import { Hosts } from "./hosts.js";
import { THIS_HOST, chosen, listed, search } from "./listed.js";
import { Row } from "./row.js";

/** More rows help nobody and make the page slow. */
const MOST_ROWS = 300;

function Empty() {
  return (
    <section class="empty">
      <p>There are no VMs on this host yet.</p>
      {mayChange.value ? (
        <p>
          <a class="button primary" href="#/deploy">
            Deploy a compose file
          </a>
        </p>
      ) : (
        <p>Your token may look but not change anything; an operator can deploy one.</p>
      )}
    </section>
  );
}

function HostChoice() {
  return (
    <>
      <label for="host">Host</label>
      <select id="host" value={chosen.value} onInput={(event) => (chosen.value = event.currentTarget.value)}>
        <option value="">all</option>
        <option value={THIS_HOST}>this host</option>
        {hosts.value.map(({ name }) => (
          <option key={name} value={name}>
            {name}
          </option>
        ))}
      </select>
    </>
  );
}

function found(shown: number, total: number): string {
  if (shown === 0 && search.value === "") return "No VM of this host is known.";
  if (shown === 0) return "No VM here has this in its name, app id, image or state.";
  if (shown > MOST_ROWS) return `The first ${MOST_ROWS} of ${shown}; search for others.`;
  return `${shown} of ${total} VMs`;
}

function Table() {
  const { rows, total } = listed();
  return (
    <>
      <div class="bar">
        {hosts.value.length > 0 && <HostChoice />}
        <SearchField search={search} placeholder="name, app, image or state">
          {found(rows.length, total)}
        </SearchField>
      </div>
      {rows.length > 0 && (
        <table class="stacked">
          <thead>
            <tr>
              <th scope="col">Name</th>
              {hosts.value.length > 0 && <th scope="col">Host</th>}
              <th scope="col">State</th>
              <th scope="col">Boot</th>
              <th scope="col">Image</th>
              <th scope="col">App id</th>
              <th scope="col">Open</th>
            </tr>
          </thead>
          <tbody>
            {rows.slice(0, MOST_ROWS).map((row) => (
              <Row key={row.vm.id} {...row} />
            ))}
          </tbody>
        </table>
      )}
    </>
  );
}

/** The VMs of this host, and of the others it knows, with their live state. */
export function List() {
  if (vms.value === undefined) return <p class="quiet">Asking teepod for its VMs…</p>;
  return (
    <>
      <h1>VMs</h1>
      <Hosts />
      {vms.value.length === 0 && <Empty />}
      {listed().total > 0 && <Table />}
    </>
  );
}
