import type { Signal } from "@preact/signals";
import type { ComponentChildren } from "preact";

export interface SearchFieldProps {
  readonly search: Signal<string>;
  /** What is searched. */
  readonly placeholder: string;
  /** What was found, in words: read out as it changes. */
  readonly children: ComponentChildren;
}

/** A field that narrows a list down, and how much is left of it; in a `.bar`. */
export function SearchField({ search, placeholder, children }: SearchFieldProps) {
  return (
    <>
      <label>
        Search
        <input
          type="search"
          placeholder={placeholder}
          value={search.value}
          onInput={(event) => (search.value = event.currentTarget.value)}
        />
      </label>
      <span class="quiet" role="status">
        {children}
      </span>
    </>
  );
}
