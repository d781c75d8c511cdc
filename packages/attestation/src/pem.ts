import { QuoteError } from "./errors.js";

/** Longest PEM text we read. A genuine chain of three certificates is under 4 KiB. */
export const MAX_PEM_CHARS = 32 * 1024;

const BEGIN = "-----BEGIN CERTIFICATE-----";
const END = "-----END CERTIFICATE-----";
const LINE_CHARS = 64;

/** As many things as `N` says: the length of a chain is known before it is read. */
export type Tuple<T, N extends 1 | 2 | 3> = { 1: [T]; 2: [T, T]; 3: [T, T, T] }[N];

/**
 * The DER of exactly `count` certificates in strict PEM (RFC 7468 §3, "stricttextualmsg"): lines of 64 characters
 * ended by a line feed, canonical base64, nothing between or around the blocks. So one chain has one text.
 * @throws {QuoteError} `certificate_malformed`
 */
export function decodePem<N extends 1 | 2 | 3>(text: string, count: N, what: string): Tuple<Uint8Array, N> {
  const fail = (message: string): QuoteError =>
    new QuoteError("certificate_malformed", `reading ${what}: ${message}`);
  if (text.length > MAX_PEM_CHARS) throw fail(`it is longer than ${MAX_PEM_CHARS} characters`);
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  const certificates: Uint8Array[] = [];
  for (let at = 0; at < lines.length;) {
    if (lines[at] !== BEGIN) throw fail("a line that begins no certificate");
    const end = lines.indexOf(END, at);
    if (end === -1) throw fail("a certificate does not end");
    certificates.push(decodeLines(lines.slice(at + 1, end), fail));
    at = end + 1;
  }
  if (certificates.length !== count) {
    throw fail(`it must hold ${count} certificates, it holds ${certificates.length}`);
  }
  return certificates as Tuple<Uint8Array, N>;
}

function decodeLines(lines: readonly string[], fail: (message: string) => QuoteError): Uint8Array {
  lines.forEach((line, index) => {
    const last = index === lines.length - 1;
    if (last ? line.length === 0 || line.length > LINE_CHARS : line.length !== LINE_CHARS) {
      throw fail("a line is not 64 characters long");
    }
  });
  const text = lines.join("");
  const bytes = Buffer.from(text, "base64");
  if (bytes.length === 0 || bytes.toString("base64") !== text)
    throw fail("a certificate is not canonical base64");
  return new Uint8Array(bytes);
}
