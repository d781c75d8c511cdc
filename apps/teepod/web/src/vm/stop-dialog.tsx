import { Dialog, Problem, useAction } from "@dstack/dashboard/web";
import type { VmSummary } from "../../../src/dashboard/vm-summary.js";
import { call } from "../api.js";

/** Asks before the plug is pulled. */
export function StopDialog({ vm, onClose }: { vm: VmSummary; onClose: () => void }) {
  const { run, busy, problem } = useAction();
  const stop = (): void =>
    run(async () => {
      await call("StopVm", { id: vm.id });
      onClose();
    });
  return (
    <Dialog title={`Stop ${vm.name} at once?`} onClose={onClose}>
      <p>The VM ends as if its plug were pulled. “Shut down” lets its containers finish first.</p>
      <Problem text={problem.value} />
      <div class="bar">
        <button type="button" class="danger" disabled={busy.value} onClick={stop}>
          Stop it
        </button>
        <button type="button" onClick={onClose}>
          Cancel
        </button>
      </div>
    </Dialog>
  );
}
