import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useAction } from "./ask.js";
import { Dialog, Problem } from "./parts.js";

export interface TypedDialogProps {
  readonly title: string;
  /** What has to be typed. */
  readonly name: string;
  /** What the button says. */
  readonly button: string;
  readonly action: () => Promise<void>;
  readonly onClose: () => void;
  /** What will happen. */
  readonly children: ComponentChildren;
}

/** Does what nothing brings back, once the name of what it is done to has been typed. */
export function TypedDialog({ title, name, button, action, onClose, children }: TypedDialogProps) {
  const typed = useSignal("");
  const { run, busy, problem } = useAction();
  const submit = (event: Event): void => {
    event.preventDefault();
    if (typed.value === name) run(action);
  };
  return (
    <Dialog title={title} onClose={onClose}>
      <form onSubmit={submit}>
        {children}
        <label for="typed-name">
          Type <code>{name}</code> to confirm
        </label>
        <input
          id="typed-name"
          autocomplete="off"
          value={typed.value}
          onInput={(event) => (typed.value = event.currentTarget.value)}
        />
        <Problem text={problem.value} />
        <div class="bar">
          <button type="submit" class="danger" disabled={busy.value || typed.value !== name}>
            {button}
          </button>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
        </div>
      </form>
    </Dialog>
  );
}
