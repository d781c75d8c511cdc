import { useSignal } from "@preact/signals";
import type { Signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { wordsOf } from "./api.js";

/** An answer that is asked for when it is first needed, and again when one of the `inputs` changes. */
export function useAnswer<T>(
  ask: () => Promise<T>,
  inputs: readonly unknown[],
): { answer: Signal<T | undefined>; problem: Signal<string> } {
  const answer = useSignal<T | undefined>(undefined);
  const problem = useSignal("");
  useEffect(() => {
    let wanted = true;
    ask().then(
      (value) => {
        if (!wanted) return;
        answer.value = value;
        problem.value = "";
      },
      (err: unknown) => {
        if (wanted) problem.value = wordsOf(err);
      },
    );
    return () => {
      wanted = false;
    };
  }, inputs);
  return { answer, problem };
}

/** Something done at the press of a button: once at a time, and what went wrong in words. */
export function useAction(): {
  run: (work: () => Promise<void>) => void;
  busy: Signal<boolean>;
  problem: Signal<string>;
} {
  const busy = useSignal(false);
  const problem = useSignal("");
  const run = (work: () => Promise<void>): void => {
    if (busy.value) return;
    busy.value = true;
    problem.value = "";
    work()
      .catch((err: unknown) => (problem.value = wordsOf(err)))
      .finally(() => (busy.value = false));
  };
  return { run, busy, problem };
}
