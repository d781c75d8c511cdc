import { Problem, State, moment, useAction } from "@dstack/dashboard/web";
import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { call } from "./api.js";
import type { AuditEntry, AuditPage } from "./wire.js";

/** Whether the log is what was written, and where it ends. */
function Chain({ page }: { page: AuditPage }) {
  if (page.broken !== "") {
    return (
      <p class="problem">
        This log was changed by somebody else, and says nothing any more: {page.broken}. Keep the file for
        whoever looks into it; tproxy changes nothing meanwhile, and does not start again with it.
      </p>
    );
  }
  return (
    <dl>
      <dt>Chain</dt>
      <dd>
        <State status="whole, as of now" mood="good" />
      </dd>
      <dt>Head</dt>
      <dd>
        {page.head_seq < 0 ? (
          "no entry yet"
        ) : (
          <>
            entry {page.head_seq}, <code>{page.head_hash}</code>
            <div class="hint">Whoever keeps this sees later whether the log was cut or made anew.</div>
          </>
        )}
      </dd>
    </dl>
  );
}

function Row({ entry }: { entry: AuditEntry }) {
  return (
    <tr>
      <td data-label="Entry" class="number">
        {entry.seq}
      </td>
      <td data-label="When">{moment(entry.at)}</td>
      <td data-label="Who">
        {entry.who} <span class="quiet">from {entry.from}</span>
      </td>
      <td data-label="What">{entry.method}</td>
      <td data-label="About">{entry.about}</td>
      <td data-label="Outcome" class={entry.outcome === "refused" || entry.outcome === "failed" ? "bad" : ""}>
        {entry.outcome}
        {entry.message !== undefined && `: ${entry.message}`}
      </td>
    </tr>
  );
}

/** What was asked of this node, and what became of it. */
export function Audit() {
  const newest = useSignal<AuditPage | undefined>(undefined);
  const entries = useSignal<readonly AuditEntry[]>([]);
  const older = useSignal<number | undefined>(undefined);
  const { run, busy, problem } = useAction();
  const load = (before?: number): void =>
    run(async () => {
      const page = await call<AuditPage>("GetAuditLog", before === undefined ? {} : { before });
      if (before === undefined) newest.value = page;
      entries.value = before === undefined ? page.entries : [...entries.value, ...page.entries];
      older.value = page.older;
    });
  useEffect(() => load(), []);
  return (
    <>
      <h1>Audit log</h1>
      <p class="quiet">
        Every change asked of this node stands here before it is made and again with its outcome, newest
        first; other nodes have logs of their own. It is <code>audit.log</code> in <code>state_dir</code>,
        append-only and hash-chained.
      </p>
      <Problem text={problem.value} />
      {newest.value !== undefined && <Chain page={newest.value} />}
      {entries.value.length > 0 && (
        <table class="stacked">
          <thead>
            <tr>
              <th scope="col">Entry</th>
              <th scope="col">When</th>
              <th scope="col">Who</th>
              <th scope="col">What</th>
              <th scope="col">About</th>
              <th scope="col">Outcome</th>
            </tr>
          </thead>
          <tbody>
            {entries.value.map((entry) => (
              <Row key={entry.seq} entry={entry} />
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
