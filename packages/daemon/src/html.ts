/** A piece of HTML made by {@link html}; everything else is text and gets escaped. */
export class Html {
  constructor(readonly text: string) {}
}

type Part = string | number | bigint | boolean | Html | readonly Html[];

function insert(part: Part): string {
  if (part instanceof Html) return part.text;
  if (typeof part === "object") return part.map((piece) => piece.text).join("");
  return escapeHtml(String(part));
}

/** HTML from a template whose inserted values are text: nothing a value holds can become markup (T6). */
export function html(strings: TemplateStringsArray, ...parts: readonly Part[]): Html {
  return new Html(String.raw({ raw: strings }, ...parts.map(insert)));
}

/** Text for element content and for attribute values in quotes. */
function escapeHtml(text: string): string {
  return text.replace(/[&<>"']/g, (character) => `&#${character.charCodeAt(0)};`);
}
