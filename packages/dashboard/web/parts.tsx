import type { ComponentChildren } from "preact";
import { useEffect, useRef } from "preact/hooks";

/** An error in words, read out when it appears. */
export function Problem({ text }: { text: string }) {
  return (
    <div role="alert" class={text === "" ? "" : "problem"}>
      {text}
    </div>
  );
}

/** A window over the page; Escape and the button close it. */
export function Dialog(props: { title: string; onClose: () => void; children: ComponentChildren }) {
  const element = useRef<HTMLDialogElement>(null);
  useEffect(() => element.current?.showModal(), []);
  return (
    <dialog ref={element} aria-label={props.title} onClose={props.onClose}>
      <h2>{props.title}</h2>
      {props.children}
    </dialog>
  );
}

/** How a state is meant: it has a colour and a shape beside its word. */
export type Mood = "good" | "bad" | "plain";

/** The state in a word, a colour and a shape. */
export function State({ status, mood }: { status: string; mood: Mood }) {
  return <span class={`state ${mood}`}>{status}</span>;
}
