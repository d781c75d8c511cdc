import { Problem, useAnswer } from "@dstack/dashboard/web";
import type { VmSummary } from "../../../src/dashboard/vm-summary.js";
import type { BootStep } from "../wire.js";
import { call } from "../api.js";

const MARKS = { start: "…", done: "✓", error: "✗", info: "·" } as const;

/** Time since the first step; steps of a guest with a strange clock have none. */
function offset(step: BootStep, first: BootStep | undefined): string {
  const ms = Date.parse(step.at) - Date.parse(first?.at ?? "");
  return Number.isNaN(ms) || ms < 0 ? "" : `+${(ms / 1000).toFixed(1)} s`;
}

/** Without the beginnings of steps that came to an end: their end says it all. */
function told(steps: readonly BootStep[]): readonly BootStep[] {
  const ends = (step: BootStep): boolean => step.state === "done" || step.state === "error";
  return steps.filter(
    ({ state, step }, i) =>
      state !== "start" || !steps.slice(i + 1).some((later) => later.step === step && ends(later)),
  );
}

/** The steps of the last boot, as the guest tells them. */
export function BootTimeline({ vm }: { vm: VmSummary }) {
  const { answer, problem } = useAnswer(
    () => call<{ steps: BootStep[] }>("GetBootTimeline", { id: vm.id }),
    [vm.id, vm.status, vm.started_at, vm.boot_progress, vm.boot_error],
  );
  const steps = answer.value?.steps ?? [];
  return (
    <section aria-labelledby="boot">
      <h2 id="boot">Boot</h2>
      <Problem text={problem.value} />
      {steps.length === 0 && problem.value === "" && (
        <p class="quiet">
          The guest has told no step yet. The console shows what it prints from its first second on.
        </p>
      )}
      <ol class="steps">
        {told(steps).map((step, i) => (
          <li key={i}>
            <time dateTime={step.at}>{offset(step, steps[0])}</time>{" "}
            <span class={step.state === "error" ? "error" : ""}>
              <span aria-hidden="true">{MARKS[step.state]}</span> {step.step}
              {step.state === "error" && " failed"}
              {step.state === "start" && " begins"}
              {step.message !== "" && `: ${step.message}`}
            </span>
          </li>
        ))}
      </ol>
    </section>
  );
}
