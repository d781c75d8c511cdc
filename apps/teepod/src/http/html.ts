const ENTITIES: Readonly<Record<string, string>> = {
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  '"': "&quot;",
  "'": "&#39;",
};

/** A piece of markup. Only `html` makes one, so text from elsewhere cannot be taken for it. */
export class Markup {
  constructor(readonly text: string) {}
}

function escape(text: string): string {
  return text.replaceAll(/[&<>"']/g, (c) => ENTITIES[c] ?? c);
}

type Value = string | number | Markup | readonly Markup[];

function render(value: Value): string {
  if (value instanceof Markup) return value.text;
  if (typeof value === "object") return value.map((part) => part.text).join("");
  return escape(String(value));
}

/** Markup with values in it; text values are escaped, for element content and quoted attributes alike. */
export function html(strings: TemplateStringsArray, ...values: readonly Value[]): Markup {
  return new Markup(
    strings.map((part, i) => part + (i < values.length ? render(values[i] ?? "") : "")).join(""),
  );
}
