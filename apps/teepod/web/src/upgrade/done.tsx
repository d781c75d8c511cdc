import { useSignal } from "@preact/signals";
import { allowCommand } from "../vm/allow-command.js";
import type { VmInfo } from "../wire.js";
import { vmLink } from "../route.js";

/** Copies where the browser lets a page do it, which plain HTTP does not; else selects, for Ctrl+C. */
async function copy(element: HTMLElement | null): Promise<string> {
  if (element === null) return "";
  try {
    await navigator.clipboard.writeText(element.textContent ?? "");
    return "Copied.";
  } catch {
    getSelection()?.selectAllChildren(element);
    return "Selected: press Ctrl+C.";
  }
}

/** What is left to do after an upgrade was taken. */
export function Done({ vm, upgradedAppId }: { vm: VmInfo; upgradedAppId: string }) {
  const said = useSignal("");
  const command = allowCommand(vm.app_id, upgradedAppId);
  if (vm.app_id === upgradedAppId) {
    return (
      <p class="banner">
        The VM has its new configuration. <a href={vmLink(vm.id)}>Stop and start it</a> to apply it.
      </p>
    );
  }
  return (
    <>
      <h2>The VM has its new document. Two steps are left</h2>
      <ol>
        <li>
          Let the KMS give it keys. Where the KMS runs:
          <pre id="allow-command">{command}</pre>
          <button
            type="button"
            onClick={() =>
              void copy(document.getElementById("allow-command")).then((text) => (said.value = text))
            }
          >
            Copy the command
          </button>{" "}
          <span role="status">{said.value}</span>
        </li>
        <li>
          <a href={vmLink(vm.id)}>Stop and start the VM</a>. Before the KMS allows it, its boot will be
          refused the keys.
        </li>
      </ol>
    </>
  );
}
