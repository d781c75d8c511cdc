import type { ComponentType } from "preact";
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { Problem } from "./parts.js";

/** A page that comes when it is first opened: the first view stays small. */
export function later(load: () => Promise<ComponentType>): ComponentType {
  const loaded = signal<ComponentType | undefined>(undefined);
  const problem = signal("");
  async function fetchIt(): Promise<void> {
    try {
      loaded.value = await load();
      problem.value = "";
    } catch {
      problem.value =
        "This part of the page could not be loaded. Load the page again when the daemon answers.";
    }
  }
  return function Later() {
    useEffect(() => {
      if (loaded.value === undefined) void fetchIt();
    }, []);
    const Page = loaded.value;
    return Page === undefined ? <Problem text={problem.value} /> : <Page />;
  };
}
