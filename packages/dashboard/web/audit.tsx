import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect } from "preact/hooks";
import { useAction } from "./ask.js";
import { Problem } from "./parts.js";
import { moment } from "./time.js";

/** What every audit log tells of a change that was asked for. */
interface Entry {
  readonly seq: number;
  readonly at: string;
  readonly who: string;
  readonly role?: string;
  readonly from: string;
  readonly method: string;
  readonly outcome: string;
  readonly message?: string;
}

/** A page of the log, newest first; `older` is what the next one is asked for with. */
interface Page<E> {
  readonly entries: readonly E[];
  readonly older?: number;
}

interface Props<E extends Entry, P extends Page<E>> {
  /** The newest page, or the one before an entry. */
  readonly load: (before: number | undefined) => Promise<P>;
  /** What the log is, in a sentence or two. */
  readonly intro: ComponentChildren;
  /** Heading of the column that tells what a change was about. */
  readonly subject: string;
  readonly about: (entry: E) => ComponentChildren;
  /** What stands above the entries, once the newest page has come. */
  readonly above?: (newest: P) => ComponentChildren;
}

function Row({ entry, subject, about }: { entry: Entry; subject: string; about: ComponentChildren }) {
  const { seq, at, who, role, from, method, outcome, message } = entry;
  return (
    <tr>
      <td data-label="Entry" class="number">
        {seq}
      </td>
      <td data-label="When">{moment(at)}</td>
      <td data-label="Who">
        {who}{" "}
        <span class="quiet">
          {role !== undefined && `(${role}) `}from {from}
        </span>
      </td>
      <td data-label="What">{method}</td>
      <td data-label={subject}>{about}</td>
      <td data-label="Outcome" class={outcome === "refused" || outcome === "failed" ? "bad" : ""}>
        {outcome}
        {message !== undefined && `: ${message}`}
      </td>
    </tr>
  );
}

/** The page of a program's audit log. */
export function AuditLog<E extends Entry, P extends Page<E>>({
  load,
  intro,
  subject,
  about,
  above,
}: Props<E, P>) {
  const newest = useSignal<P | undefined>(undefined);
  const entries = useSignal<readonly E[]>([]);
  const older = useSignal<number | undefined>(undefined);
  const { run, busy, problem } = useAction();
  const show = (before?: number): void =>
    run(async () => {
      const page = await load(before);
      if (before === undefined) newest.value = page;
      entries.value = before === undefined ? page.entries : [...entries.value, ...page.entries];
      older.value = page.older;
    });
  useEffect(() => show(), []);
  return (
    <>
      <h1>Audit log</h1>
      <p class="quiet">{intro}</p>
      <Problem text={problem.value} />
      {newest.value !== undefined && above?.(newest.value)}
      {newest.value !== undefined && entries.value.length === 0 && (
        <p class="empty">Nothing was asked yet. The first change will stand here.</p>
      )}
      {entries.value.length > 0 && (
        <table class="stacked">
          <thead>
            <tr>
              {["Entry", "When", "Who", "What", subject, "Outcome"].map((name) => (
                <th key={name} scope="col">
                  {name}
                </th>
              ))}
            </tr>
          </thead>
          <tbody>
            {entries.value.map((entry) => (
              <Row key={entry.seq} entry={entry} subject={subject} about={about(entry)} />
            ))}
          </tbody>
        </table>
      )}
      <p class="bar">
        <button type="button" disabled={busy.value} onClick={() => show()}>
          Look again
        </button>
        {older.value !== undefined && (
          <button type="button" disabled={busy.value} onClick={() => show(older.value)}>
            Older entries
          </button>
        )}
      </p>
    </>
  );
}
