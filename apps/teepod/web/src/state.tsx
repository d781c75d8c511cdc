import { State as StateMark } from "@dstack/dashboard/web";
import type { Mood } from "@dstack/dashboard/web";

const MOODS: Readonly<Record<string, Mood>> = { running: "good", paused: "bad", exited: "bad" };

/** A VM's state. */
export function State({ status }: { status: string }) {
  return <StateMark status={status} mood={MOODS[status] ?? "plain"} />;
}
