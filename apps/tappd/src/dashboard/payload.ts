import { fromHex } from "@dstack/core";

/** Longer ones are shown by their beginning; the whole is in the log that `Info` gives. */
const MAX_SHOWN_CHARS = 512;

/**
 * The payload of an event for people: text where it is text in UTF-8 or in the firmware's UTF-16, hex otherwise.
 * @param payload lower-case hex
 */
export function readablePayload(payload: string): { text: string; kind: "empty" | "text" | "hex" } {
  if (payload === "") return { text: "", kind: "empty" };
  const bytes = fromHex(payload, "event payload");
  const text = asText(bytes, "utf-8") ?? asText(bytes, "utf-16le");
  return text === undefined
    ? { text: shortened(payload), kind: "hex" }
    : { text: shortened(text), kind: "text" };
}

function asText(bytes: Uint8Array, encoding: "utf-8" | "utf-16le"): string | undefined {
  if (encoding === "utf-16le" && bytes.some((byte, index) => index % 2 === 1 && byte !== 0)) return undefined;
  try {
    const text = new TextDecoder(encoding, { fatal: true }).decode(bytes).replace(/\0$/, "");
    return /^[\P{C}\n\t]+$/u.test(text) ? text : undefined;
  } catch {
    return undefined;
  }
}

function shortened(text: string): string {
  return text.length <= MAX_SHOWN_CHARS ? text : `${text.slice(0, MAX_SHOWN_CHARS)}…`;
}
