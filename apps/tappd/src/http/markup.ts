/** A piece of HTML made by {@link markup}; everything else is text and gets escaped. */
export class Html {
  constructor(readonly markup: string) {}
}

type Part = string | number | boolean | bigint | Html | readonly Html[];

/** HTML from a template whose inserted values are text: nothing a value holds can become markup (T6). */
export function markup(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  const inserted = parts.map((part) => {
    if (part instanceof Html) return part.markup;
    if (typeof part === "object") return part.map((piece) => piece.markup).join("");
    return escapeHtml(String(part));
  });
  return new Html(String.raw({ raw: strings }, ...inserted));
}

/** Text for element content and for attribute values in quotes. */
export function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
