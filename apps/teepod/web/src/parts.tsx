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

/** The state in a word, a colour and a shape. */
export function State({ status }: { status: string }) {
  return <span class={`state ${KNOWN.has(status) ? status : ""}`}>{status}</span>;
}

const KNOWN = new Set(["running", "paused", "stopping", "stopped", "exited"]);
