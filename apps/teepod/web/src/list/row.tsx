import { duration, moment, now } from "@dstack/dashboard/web";
import type { VmItem } from "../../../src/dashboard/items.js";
import { appUrl, dashboardUrl } from "../links.js";
import { hosts } from "../live.js";
import { vmLink } from "../route.js";
import { State } from "../state.js";
import type { Listed } from "./listed.js";

type Vm = Listed["vm"];

/** What there is to say about a VM besides its state. */
function Said({ vm }: { vm: Vm }) {
  if (vm.boot_error !== undefined) return <span class="bad">{vm.boot_error}</span>;
  const text = vm.notice ?? vm.boot_progress ?? "";
  return <span>{text}</span>;
}

function since(vm: Vm, seenAt: string | undefined): string {
  if (seenAt !== undefined) return `as of ${moment(seenAt)}`;
  if (vm.started_at !== undefined) return duration(now.value - Date.parse(vm.started_at));
  return vm.exited_at === undefined ? "" : `since ${moment(vm.exited_at)}`;
}

/** Where a VM's page is: on its own host, whose address is the configuration's and never the host's to tell (T6). */
function pageOf({ vm, host }: Listed, tab?: "logs"): string {
  return vm.kind === "vm" || host === undefined ? vmLink(vm.id, tab) : `${host.url}/${vmLink(vm.vm_id, tab)}`;
}

function AppLinks({ vm }: { vm: VmItem }) {
  const app = appUrl(vm);
  const dashboard = dashboardUrl(vm);
  return (
    <>
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
    </>
  );
}

/** A VM of the list. */
export function Row(listed: Listed) {
  const { vm, host } = listed;
  const at = host === undefined ? "" : ` on ${host.name}`;
  return (
    <tr class={host?.seen_at === undefined ? "" : "old"}>
      <th scope="row">
        <a href={pageOf(listed)} rel="noreferrer">
          {vm.name}
        </a>
      </th>
      {hosts.value.length > 0 && <td data-label="Host">{host?.name ?? "this host"}</td>}
      <td data-label="State">
        <State status={vm.status} /> <span class="quiet">{since(vm, host?.seen_at)}</span>
      </td>
      <td data-label="Boot" class="said">
        <Said vm={vm} />
      </td>
      <td data-label="Image">{vm.image}</td>
      <td data-label="App id">
        <code title={vm.app_id}>{vm.app_id.slice(0, 12)}…</code>
      </td>
      <td class="links">
        <a href={pageOf(listed, "logs")} rel="noreferrer" aria-label={`Logs of ${vm.name}${at}`}>
          Logs
        </a>
        {vm.kind === "vm" && <AppLinks vm={vm} />}
      </td>
    </tr>
  );
}
