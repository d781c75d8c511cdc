import { useSignal } from "@preact/signals";
import { Dialog, Problem, useAction } from "@dstack/dashboard/web";
import type { VmSummary } from "../../../src/dashboard/vm-summary.js";
import { ShapeFields } from "../shape-fields.js";
import type { Shape } from "../shape-fields.js";
import { call } from "../api.js";

/** Changes CPUs, memory and disk of a VM that does not run; its disk only grows. */
export function ResizeDialog({ vm, onClose }: { vm: VmSummary; onClose: () => void }) {
  // What the dialog began with: a change of somebody else's in between is refused, not overwritten.
  const etag = useSignal(vm.etag);
  const shape = useSignal<Shape>({ vcpu: vm.vcpu, memory: vm.memory, disk_size: vm.disk_size });
  const { run, busy, problem } = useAction();
  const resize = (event: Event): void => {
    event.preventDefault();
    run(async () => {
      await call("ResizeVm", { id: vm.id, ...shape.value, expected_etag: etag.value });
      onClose();
    });
  };
  return (
    <Dialog title={`Resize ${vm.name}`} onClose={onClose}>
      <form onSubmit={resize}>
        <ShapeFields shape={shape} smallestDisk={vm.disk_size} />
        <p class="hint">It applies at the next start. A disk can grow but not shrink.</p>
        <Problem text={problem.value} />
        <div class="bar">
          <button type="submit" class="primary" disabled={busy.value}>
            Resize
          </button>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
        </div>
      </form>
    </Dialog>
  );
}
