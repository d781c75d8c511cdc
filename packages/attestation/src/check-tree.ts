/**
 * What came of a check. `skipped`: it could not be made, or was not reached. `info`: a fact that no rule judges.
 */
export type Outcome = "pass" | "fail" | "skipped" | "info";

/** One check and what came of it, in words; or a group of checks. Plain data: JSON holds all of it. */
export interface CheckNode<Code extends string = string> {
  readonly check: string;
  readonly outcome: Outcome;
  /** One sentence. Of a group: empty, its children say it. */
  readonly detail: string;
  readonly children: readonly CheckNode<Code>[];
  /** Of a leaf that failed: the code of the error that strict verification throws here. */
  readonly code?: Code;
  /** Of a leaf that failed: what a log should hold beside the sentence. */
  readonly facts?: Readonly<Record<string, unknown>>;
  /** Of a leaf that was skipped: a verdict can be had without it. It must still be told that it was not checked. */
  readonly optional?: true;
}

/** The verdict a tree stands for. `unknown`: nothing refused, but something that counts could not be checked. */
export type Verdict = "verified" | "refused" | "unknown";

export const passed = (check: string, detail: string): CheckNode<never> => leaf(check, "pass", detail);
export const info = (check: string, detail: string): CheckNode<never> => leaf(check, "info", detail);
export const skipped = (check: string, detail: string): CheckNode<never> => leaf(check, "skipped", detail);

/** Not checked, and not needed for the verdict. */
export const notChecked = (check: string, detail: string): CheckNode<never> => ({
  ...skipped(check, detail),
  optional: true,
});

export function failed<Code extends string>(
  check: string,
  code: Code,
  detail: string,
  facts: Readonly<Record<string, unknown>> = {},
): CheckNode<Code> {
  return { check, outcome: "fail", detail, children: [], code, facts };
}

/** A group fails with any of its checks, and holds only when all of them were made. */
export function group<Code extends string>(
  check: string,
  children: readonly CheckNode<Code>[],
): CheckNode<Code> {
  const has = (wanted: (child: CheckNode<Code>) => boolean): boolean => children.some(wanted);
  const outcome = has((child) => child.outcome === "fail")
    ? "fail"
    : has((child) => child.outcome === "skipped" && child.optional !== true)
      ? "skipped"
      : has((child) => child.outcome === "pass")
        ? "pass"
        : "info";
  return { check, outcome, detail: "", children };
}

/** All leaves with this outcome, in the order of the checks. */
export function leavesOf<Code extends string>(node: CheckNode<Code>, outcome: Outcome): CheckNode<Code>[] {
  if (node.children.length > 0) return node.children.flatMap((child) => leavesOf(child, outcome));
  return node.outcome === outcome ? [node] : [];
}

export function verdictOf(tree: CheckNode): Verdict {
  if (tree.outcome === "fail") return "refused";
  return tree.outcome === "pass" ? "verified" : "unknown";
}

function leaf(check: string, outcome: Outcome, detail: string): CheckNode<never> {
  return { check, outcome, detail, children: [] };
}
