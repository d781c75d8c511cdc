import { useSignal } from "@preact/signals";
import type { VmSummary } from "../../../src/dashboard/vm-summary.js";
import { call } from "../api.js";
import { useAction } from "../ask.js";
import { Dialog, Problem } from "../parts.js";
import { goTo } from "../route.js";

/** Removes a VM once its name has been typed: nothing brings its disk back. */
export function RemoveDialog({ vm, onClose }: { vm: VmSummary; onClose: () => void }) {
  const typed = useSignal("");
  const { run, busy, problem } = useAction();
  const remove = (event: Event): void => {
    event.preventDefault();
    if (typed.value !== vm.name) return;
    run(async () => {
      await call("RemoveVm", { id: vm.id });
      onClose();
      goTo("#/");
    });
  };
  return (
    <Dialog title={`Remove ${vm.name} for good?`} onClose={onClose}>
      <form onSubmit={remove}>
        <p>Its disk is deleted with everything on it. Nothing brings it back.</p>
        <label for="typed-name">
          Type <code>{vm.name}</code> to confirm
        </label>
        <input
          id="typed-name"
          autocomplete="off"
          value={typed.value}
          onInput={(event) => (typed.value = event.currentTarget.value)}
        />
        <Problem text={problem.value} />
        <div class="bar">
          <button type="submit" class="danger" disabled={busy.value || typed.value !== vm.name}>
            Remove it
          </button>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
        </div>
      </form>
    </Dialog>
  );
}
