import type { CheckNode, Outcome } from "./check-tree.js";

const MARKS: Record<Outcome, string> = { pass: "ok  ", fail: "FAIL", skipped: "skip", info: "    " };

/** A tree as lines of text, one a check, children indented: `ok     quote signature: made with …`. */
export function formatTree(tree: CheckNode): string {
  return linesOf(tree, 0).join("\n");
}

function linesOf({ check, outcome, detail, children }: CheckNode, depth: number): string[] {
  const line = `${MARKS[outcome]} ${"  ".repeat(depth)}${check}${detail === "" ? "" : `: ${detail}`}`;
  return [line, ...children.flatMap((child) => linesOf(child, depth + 1))];
}
