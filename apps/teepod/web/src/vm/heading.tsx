import type { VmSummary } from "../../../src/dashboard/vm-summary.js";
import { vmLink } from "../route.js";
import { State } from "../state.js";

/** Name and state of a VM, and the way to its pages. */
export function VmHeading({
  id,
  vm,
  tab,
}: {
  id: string;
  vm: VmSummary | undefined;
  tab: "vm" | "logs" | "upgrade";
}) {
  const link = (target: "vm" | "logs" | "upgrade", text: string) => (
    <a
      href={vmLink(id, target === "vm" ? undefined : target)}
      aria-current={tab === target ? "page" : undefined}
    >
      {text}
    </a>
  );
  return (
    <>
      <h1>
        {vm?.name ?? "A VM that is not there"} {vm !== undefined && <State status={vm.status} />}
      </h1>
      <nav class="tabs" aria-label="This VM">
        {link("vm", "Overview")}
        {link("logs", "Console")}
        {link("upgrade", "Upgrade")}
      </nav>
    </>
  );
}
