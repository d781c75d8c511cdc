import type { CheckNode, Outcome } from "./check-tree.js";

const MARKS: Record<Outcome, string> = { pass: "ok  ", fail: "FAIL", skipped: "skip", info: "    " };

/**
 * A tree as lines of text, one a check, children indented: `ok     quote signature: made with …`.
 * @param depth levels to show below the root's children
 */
export function formatTree(tree: CheckNode, depth = Infinity): string {
  return linesOf(tree, 0, depth).join("\n");
}

/** Details hold text of whoever made the evidence: none of it may look like a line of ours. */
export function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (c) => `\\u{${(c.codePointAt(0) ?? 0).toString(16)}}`);
}

function linesOf({ check, outcome, detail, children }: CheckNode, level: number, depth: number): string[] {
  const line = `${MARKS[outcome]} ${"  ".repeat(level)}${check}${detail === "" ? "" : `: ${oneLine(detail)}`}`;
  if (level > depth) return [line];
  return [line, ...children.flatMap((child) => linesOf(child, level + 1, depth))];
}
