import { useSignal } from "@preact/signals";
import { Problem, useAction } from "@dstack/dashboard/web";
import type { VmSummary } from "../../../src/dashboard/vm-summary.js";
import { saveText } from "../files.js";
import type { GetInfoResponse } from "../wire.js";
import { RemoveDialog } from "./remove-dialog.js";
import { ResizeDialog } from "./resize-dialog.js";
import { StopDialog } from "./stop-dialog.js";
import { call } from "../api.js";
import { mayChange } from "../live.js";
import { vmLink } from "../route.js";

/** The exact bytes of a VM's app-compose document, as a file. */
async function downloadCompose(vm: VmSummary): Promise<void> {
  const { info } = await call<GetInfoResponse>("GetInfo", { id: vm.id });
  if (info === undefined) throw new Error("There is no VM of that id any more.");
  saveText(`${vm.name}.app-compose.json`, info.configuration.compose_file);
}

/** What can be done with a VM, as far as its state and the role of whoever looks allow. */
export function Actions({ vm }: { vm: VmSummary }) {
  const { run, busy, problem } = useAction();
  const asking = useSignal<"" | "stop" | "remove" | "resize">("");
  const runs = vm.status === "running" || vm.status === "paused" || vm.status === "stopping";
  const change = (method: string) => () => run(async () => void (await call(method, { id: vm.id })));
  const close = (): void => void (asking.value = "");
  return (
    <>
      <div class="bar">
        {mayChange.value && (
          <>
            <button type="button" disabled={busy.value || runs} onClick={change("StartVm")}>
              Start
            </button>
            <button
              type="button"
              disabled={busy.value || vm.status !== "running"}
              onClick={change("ShutdownVm")}
            >
              Shut down
            </button>
            <button type="button" disabled={busy.value || !runs} onClick={() => (asking.value = "stop")}>
              Stop…
            </button>
            <a class="button" href={vmLink(vm.id, "upgrade")}>
              Upgrade
            </a>
            <button type="button" disabled={busy.value || runs} onClick={() => (asking.value = "resize")}>
              Resize…
            </button>
            <a class="button" href={`#/deploy?clone=${encodeURIComponent(vm.id)}`}>
              Clone
            </a>
          </>
        )}
        <button type="button" disabled={busy.value} onClick={() => run(() => downloadCompose(vm))}>
          Download compose
        </button>
        {mayChange.value && (
          <button
            type="button"
            class="danger"
            disabled={busy.value || runs}
            onClick={() => (asking.value = "remove")}
          >
            Remove…
          </button>
        )}
      </div>
      {mayChange.value && runs && <p class="hint">To resize or remove it, stop it first.</p>}
      {!mayChange.value && <p class="hint">Your token may look at this VM but not change it.</p>}
      <Problem text={problem.value} />
      {asking.value === "stop" && <StopDialog vm={vm} onClose={close} />}
      {asking.value === "remove" && <RemoveDialog vm={vm} onClose={close} />}
      {asking.value === "resize" && <ResizeDialog vm={vm} onClose={close} />}
    </>
  );
}
