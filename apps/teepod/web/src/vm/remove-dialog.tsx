import { TypedDialog, goTo } from "@dstack/dashboard/web";
import type { VmSummary } from "../../../src/dashboard/vm-summary.js";
import { call } from "../api.js";

/** Removes a VM once its name has been typed: nothing brings its disk back. */
export function RemoveDialog({ vm, onClose }: { vm: VmSummary; onClose: () => void }) {
  const remove = async (): Promise<void> => {
    await call("RemoveVm", { id: vm.id });
    onClose();
    goTo("#/");
  };
  return (
    <TypedDialog
      title={`Remove ${vm.name} for good?`}
      name={vm.name}
      button="Remove it"
      action={remove}
      onClose={onClose}
    >
      <p>Its disk is deleted with everything on it. Nothing brings it back.</p>
    </TypedDialog>
  );
}
