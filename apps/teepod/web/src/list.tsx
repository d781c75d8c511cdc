import { duration, moment, now } from "@dstack/dashboard/web";
import type { VmSummary } from "../../src/dashboard/vm-summary.js";
import { appUrl, dashboardUrl } from "./links.js";
import { mayChange, vms } from "./live.js";
import { vmLink } from "./route.js";
import { State } from "./state.js";

/** What there is to say about a VM besides its state. */
function Said({ vm }: { vm: VmSummary }) {
  if (vm.boot_error !== undefined) return <span class="bad">{vm.boot_error}</span>;
  const text = vm.notice ?? vm.boot_progress ?? "";
  return <span>{text}</span>;
}

function since(vm: VmSummary): string {
  if (vm.started_at !== undefined) return duration(now.value - Date.parse(vm.started_at));
  return vm.exited_at === undefined ? "" : `since ${moment(vm.exited_at)}`;
}

function Row({ vm }: { vm: VmSummary }) {
  const app = appUrl(vm);
  const dashboard = dashboardUrl(vm);
  return (
    <tr>
      <th scope="row">
        <a href={vmLink(vm.id)}>{vm.name}</a>
      </th>
      <td data-label="State">
        <State status={vm.status} /> <span class="quiet">{since(vm)}</span>
      </td>
      <td data-label="Boot" class="said">
        <Said vm={vm} />
      </td>
      <td data-label="Image">{vm.image}</td>
      <td data-label="App id">
        <code title={vm.app_id}>{vm.app_id.slice(0, 12)}…</code>
      </td>
      <td class="links">
        <a href={vmLink(vm.id, "logs")} aria-label={`Logs of ${vm.name}`}>
          Logs
        </a>
        {app !== undefined && (
          <a href={app} target="_blank" rel="noreferrer" aria-label={`App of ${vm.name}`}>
            App
          </a>
        )}
        {dashboard !== undefined && (
          <a href={dashboard} target="_blank" rel="noreferrer" aria-label={`Dashboard of ${vm.name}`}>
            Dashboard
          </a>
        )}
      </td>
    </tr>
  );
}

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

/** All VMs of the host with their live state. */
export function List() {
  const list = vms.value;
  if (list === undefined) return <p class="quiet">Asking teepod for its VMs…</p>;
  return (
    <>
      <h1>VMs</h1>
      {list.length === 0 ? (
        <Empty />
      ) : (
        <table class="stacked">
          <thead>
            <tr>
              <th scope="col">Name</th>
              <th scope="col">State</th>
              <th scope="col">Boot</th>
              <th scope="col">Image</th>
              <th scope="col">App id</th>
              <th scope="col">Open</th>
            </tr>
          </thead>
          <tbody>
            {list.map((vm) => (
              <Row key={vm.id} vm={vm} />
            ))}
          </tbody>
        </table>
      )}
    </>
  );
}
