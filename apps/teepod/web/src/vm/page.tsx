import { moment } from "@dstack/dashboard/web";
import type { VmSummary } from "../../../src/dashboard/vm-summary.js";
import { appUrl, dashboardUrl } from "../links.js";
import { allowCommand } from "./allow-command.js";
import { Actions } from "./actions.js";
import { BootTimeline } from "./boot-timeline.js";
import { VmHeading } from "./heading.js";
import { vms } from "../live.js";
import { portsText } from "../ports-text.js";
import { route } from "../route.js";

function Links({ vm }: { vm: VmSummary }) {
  const app = appUrl(vm);
  const dashboard = dashboardUrl(vm);
  if (app === undefined || dashboard === undefined) {
    return <>none: the host has no gateway, or the app does not join it</>;
  }
  return (
    <>
      <a href={app} target="_blank" rel="noreferrer">
        {app}
      </a>
      <br />
      <a href={dashboard} target="_blank" rel="noreferrer">
        The VM's dashboard
      </a>
    </>
  );
}

function Facts({ vm }: { vm: VmSummary }) {
  const upgraded = vm.compose_hash.slice(0, 40) !== vm.app_id;
  return (
    <dl>
      <dt>App</dt>
      <dd>
        <Links vm={vm} />
      </dd>
      <dt>App id</dt>
      <dd>
        <code>{vm.app_id}</code>
      </dd>
      <dt>Compose hash</dt>
      <dd>
        <code>{vm.compose_hash}</code>
        {upgraded && (
          <div class="hint">
            Not the app's first document. The KMS gives it keys once it allows this pair:{" "}
            <code>{allowCommand(vm.app_id, vm.compose_hash.slice(0, 40))}</code>
          </div>
        )}
      </dd>
      <dt>Instance</dt>
      <dd>{vm.instance_id === undefined ? "none yet: it has not booted" : <code>{vm.instance_id}</code>}</dd>
      <dt>Image</dt>
      <dd>{vm.image}</dd>
      <dt>Shape</dt>
      <dd>
        {vm.vcpu} vCPU, {vm.memory} MB memory, {vm.disk_size} GB disk
      </dd>
      {vm.ports.length > 0 && (
        <>
          <dt>Ports</dt>
          <dd>{portsText(vm.ports)}</dd>
        </>
      )}
      {vm.started_at !== undefined && (
        <>
          <dt>Started</dt>
          <dd>{moment(vm.started_at)}</dd>
        </>
      )}
      {vm.exited_at !== undefined && (
        <>
          <dt>Ended</dt>
          <dd>
            {moment(vm.exited_at)}
            {vm.notice !== undefined && `: ${vm.notice}`}
          </dd>
        </>
      )}
    </dl>
  );
}

/** One VM: what it is, what can be done with it, how its boot went. */
export function VmPage() {
  const current = route.value;
  if (current.page !== "vm") return null;
  const vm = vms.value?.find(({ id }) => id === current.id);
  return (
    <>
      <VmHeading id={current.id} vm={vm} tab="vm" />
      {vm === undefined ? (
        <section class="empty">
          <p>There is no VM of that id on this host. It may have been removed.</p>
          <p>
            <a href="#/">All VMs</a>
          </p>
        </section>
      ) : (
        <>
          {vm.boot_error !== undefined && <p class="problem">{vm.boot_error}</p>}
          {vm.status === "paused" && <p class="problem">{vm.notice}</p>}
          <Actions vm={vm} />
          <Facts vm={vm} />
          <BootTimeline vm={vm} />
        </>
      )}
    </>
  );
}
