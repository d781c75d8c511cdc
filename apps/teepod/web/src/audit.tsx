import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { Problem, moment, useAction } from "@dstack/dashboard/web";
import type { AuditEntry, AuditPage } from "./wire.js";
import { call } from "./api.js";
import { vms } from "./live.js";
import { vmLink } from "./route.js";

/** The VM an entry is about: by its name as long as it is there. */
function About({ entry }: { entry: AuditEntry }) {
  const id = entry.method === "CreateVm" ? (entry.result ?? "") : entry.vm;
  const vm = vms.value?.find((candidate) => candidate.id === id);
  return vm === undefined ? <>{entry.vm}</> : <a href={vmLink(vm.id)}>{vm.name}</a>;
}

/** What was asked of this teepod, and what became of it. */
export function Audit() {
  const entries = useSignal<readonly AuditEntry[]>([]);
  const older = useSignal<number | undefined>(undefined);
  const { run, busy, problem } = useAction();
  const load = (before?: number): void =>
    run(async () => {
      const page = await call<AuditPage>("GetAuditLog", before === undefined ? {} : { before });
      entries.value = before === undefined ? page.entries : [...entries.value, ...page.entries];
      older.value = page.older;
    });
  useEffect(() => load(), []);
  return (
    <>
      <h1>Audit log</h1>
      <p class="quiet">
        Every change stands here before it is made and again with its outcome, newest first. teepod only ever
        appends to it: <code>audit.log</code> in its <code>run_path</code>.
      </p>
      <Problem text={problem.value} />
      {entries.value.length === 0 && !busy.value && problem.value === "" && (
        <p class="empty">Nothing was asked of this teepod yet. The first change will stand here.</p>
      )}
      {entries.value.length > 0 && (
        <table class="stacked">
          <thead>
            <tr>
              <th scope="col">When</th>
              <th scope="col">Who</th>
              <th scope="col">What</th>
              <th scope="col">VM</th>
              <th scope="col">Outcome</th>
            </tr>
          </thead>
          <tbody>
            {entries.value.map((entry, i) => (
              <tr key={i}>
                <td data-label="When">{moment(entry.at)}</td>
                <td data-label="Who">
                  {entry.who}{" "}
                  <span class="quiet">
                    ({entry.role}) from {entry.from}
                  </span>
                </td>
                <td data-label="What">{entry.method}</td>
                <td data-label="VM">
                  <About entry={entry} />
                </td>
                <td
                  data-label="Outcome"
                  class={entry.outcome === "refused" || entry.outcome === "failed" ? "bad" : ""}
                >
                  {entry.outcome}
                  {entry.message !== undefined && `: ${entry.message}`}
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      <p class="bar">
        <button type="button" disabled={busy.value} onClick={() => load()}>
          Look again
        </button>
        {older.value !== undefined && (
          <button type="button" disabled={busy.value} onClick={() => load(older.value)}>
            Older entries
          </button>
        )}
      </p>
    </>
  );
}
