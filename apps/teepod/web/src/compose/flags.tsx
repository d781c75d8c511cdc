import type { Signal } from "@preact/signals";

/** What an app shows to anyone (G8). */
export interface Flags {
  readonly publicLogs: boolean;
  readonly publicSysinfo: boolean;
  readonly publicTcbinfo: boolean;
}

export function FlagFields({ flags }: { flags: Signal<Flags> }) {
  const field = (key: keyof Flags, label: string) => (
    <label class="check">
      <input
        type="checkbox"
        checked={flags.value[key]}
        onChange={(event) => (flags.value = { ...flags.value, [key]: event.currentTarget.checked })}
      />{" "}
      {label}
    </label>
  );
  return (
    <fieldset>
      <legend>What anyone may see on the VM's dashboard</legend>
      {field("publicLogs", "The list of containers, and the containers' logs")}
      {field("publicSysinfo", "The system's load")}
      {field("publicTcbinfo", "The compose document and the event log")}
      <p class="hint">All of these are part of the document that is measured.</p>
    </fieldset>
  );
}
