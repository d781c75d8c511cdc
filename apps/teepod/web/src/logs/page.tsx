import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { Problem } from "@dstack/dashboard/web";
import { saveText } from "../files.js";
import { VmHeading } from "../vm/heading.js";
import { ConsoleLog, MAX_LINES } from "./console.js";
import type { Line } from "./console.js";
import { vms } from "../live.js";
import { route } from "../route.js";

const STATES = {
  following: "Following: new lines appear as they are written.",
  paused: "Paused.",
  lost: "The connection is lost; trying to reach teepod again.",
} as const;

const textOf = (lines: readonly Line[]): string => lines.map((line) => `${line.text}\n`).join("");

function Lines({ lines, follow }: { lines: readonly Line[]; follow: boolean }) {
  const box = useRef<HTMLPreElement>(null);
  useEffect(() => {
    if (follow) box.current?.scrollTo(0, box.current.scrollHeight);
  }, [lines, follow]);
  return (
    <pre class="console" ref={box} tabIndex={0} role="region" aria-label="Console of the VM">
      {lines.map((line) => (
        <div key={line.key}>
          {line.spans.length === 0
            ? "\u00a0"
            : line.spans.map((span) =>
                span.classes === "" ? span.text : <span class={span.classes}>{span.text}</span>,
              )}
        </div>
      ))}
    </pre>
  );
}

function Console({ id, name }: { id: string; name: string }) {
  const log = useMemo(() => new ConsoleLog(id), [id]);
  const search = useSignal("");
  useEffect(() => {
    void log.follow();
    return () => log.pause();
  }, [log]);
  const shown = useComputed(() => {
    const wanted = search.value.toLowerCase();
    return wanted === ""
      ? log.lines.value
      : log.lines.value.filter((line) => line.text.toLowerCase().includes(wanted));
  });
  const following = log.state.value === "following";
  return (
    <>
      <div class="bar">
        <label>
          Search
          <input
            type="search"
            value={search.value}
            onInput={(event) => (search.value = event.currentTarget.value)}
          />
        </label>
        <button type="button" onClick={() => (following ? log.pause() : void log.follow())}>
          {following ? "Pause" : "Follow"}
        </button>
        <button type="button" onClick={() => saveText(`${name}.log`, textOf(shown.value))}>
          Download
        </button>
        <span class="quiet" aria-live="polite">
          {search.value !== "" && `${shown.value.length} of ${log.lines.value.length} lines. `}
          {STATES[log.state.value]}
        </span>
      </div>
      <Problem text={log.problem.value} />
      {log.lines.value.length === 0 && log.problem.value === "" ? (
        <p class="empty">
          The console is empty so far. A VM prints its first line some seconds after its start.
        </p>
      ) : (
        <Lines lines={shown.value} follow={following} />
      )}
      <p class="quiet">The last {MAX_LINES} lines at most. Containers' logs are on the VM's own dashboard.</p>
    </>
  );
}

/** The console of a VM. */
export function Logs() {
  const current = route.value;
  if (current.page !== "logs") return null;
  const vm = vms.value?.find(({ id }) => id === current.id);
  return (
    <>
      <VmHeading id={current.id} vm={vm} tab="logs" />
      <Console key={current.id} id={current.id} name={vm?.name ?? current.id} />
    </>
  );
}
