import { InputError, errorMessage } from "@dstack/core/errors";
import { CST, Lexer, LineCounter, isScalar, parseDocument } from "yaml";

/** Of collections in each other; compose files have five or six. YAML's nesting is read on the stack. */
const MAX_DEPTH = 64;
const MAX_INDENT = 4 * MAX_DEPTH;
/** Of keys with the others of their mapping, which takes the square of their number. */
const MAX_COMPARISONS = 500_000;
/** An alias makes much of little. */
const MAX_ALIASES = 100;

/** @throws {InputError} reading it would take long, or all of the stack */
function requireShallow(text: string): void {
  let open = 0;
  let inLine = 0;
  let atStart = true;
  for (const token of new Lexer().lex(text)) {
    const type = CST.tokenType(token);
    if (type === "flow-map-start" || type === "flow-seq-start") open++;
    else if (type === "flow-map-end" || type === "flow-seq-end") open = Math.max(0, open - 1);
    else if (type === "newline") inLine = 0;
    else if (type?.endsWith("-ind") === true || type === "tag" || type === "anchor")
      inLine += open === 0 ? 1 : 0;
    const indented = atStart && type === "space" && token.length > MAX_INDENT;
    if (open > MAX_DEPTH || inLine > MAX_DEPTH || indented)
      throw new InputError(`the compose file is nested deeper than ${MAX_DEPTH} levels`);
    atStart = type === "newline";
  }
}

/**
 * What a docker-compose.yaml says. It may be anyone's: teepod and the page read it while everyone waits.
 * @throws {InputError} one sentence: it is not YAML, or would take long to read
 */
export function readYaml(text: string): unknown {
  requireShallow(text);
  let comparisons = 0;
  const isSame = (a: unknown, b: unknown): boolean => {
    if (++comparisons > MAX_COMPARISONS)
      throw new InputError("a mapping of the compose file has too many keys");
    return a === b || (isScalar(a) && isScalar(b) && a.value === b.value);
  };
  const lineCounter = new LineCounter();
  try {
    // Errors are told with their lines for all of them, of which there can be as many as letters: here for the first.
    const document = parseDocument(text, {
      logLevel: "error",
      uniqueKeys: isSame,
      prettyErrors: false,
      lineCounter,
    });
    const [error] = document.errors;
    if (error === undefined) return document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown;
    const { line, col } = lineCounter.linePos(error.pos[0]);
    throw new InputError(`the compose file is not YAML: ${error.message} at line ${line}, column ${col}`);
  } catch (err) {
    if (err instanceof InputError) throw err;
    throw new InputError(`the compose file is not YAML: ${errorMessage(err)}`, { cause: err });
  }
}
