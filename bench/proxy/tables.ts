import { isMet } from "./results.js";
import type { Growth, Results, RowResult } from "./results.js";

/** Digits enough to compare, none to admire. */
export function figure(value: number): string {
  if (!Number.isFinite(value)) return "–";
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}

function table(head: readonly string[], lines: readonly (readonly string[])[]): string {
  const rule = head.map(() => "---");
  return [head, rule, ...lines].map((cells) => `| ${cells.join(" | ")} |`).join("\n");
}

/** The goals: native ÷ HAProxy at its best, and whether that is enough. */
export function goalTable({ rows }: Results): string {
  const lines = rows.map((row) => {
    const { native, js } = row.cells;
    const reached = row.goalFor === "ratio" ? native?.ratio : native?.spread;
    const unit = row.goalFor === "ratio" ? "" : ` ${row.unit}`;
    return [
      row.name,
      `≤ ${row.goal}${unit}`,
      `${figure(reached?.median ?? NaN)}${unit}`,
      `${figure(reached?.low ?? NaN)} to ${figure(reached?.high ?? NaN)}`,
      isMet(row) ? "met" : "**below**",
      figure((row.goalFor === "ratio" ? js?.ratio : js?.spread)?.median ?? NaN),
      row.base,
    ];
  });
  return table(["work", "goal", "native", "quartiles", "", "js", "best HAProxy"], lines);
}

/** What everybody took: medians. */
export function costTable({ rows }: Results): string {
  const names = [...new Set(rows.flatMap(({ cells }) => Object.keys(cells)))];
  const lines = rows.map((row: RowResult) => [
    row.name,
    row.unit,
    ...names.map((name) => figure(row.cells[name]?.spread.median ?? NaN)),
  ]);
  return table(["work", "unit", ...names], lines);
}

export function growthTable({ title, unit, sizes, series }: Growth): string {
  const lines = Object.entries(series).map(([name, values]) => [
    name,
    ...values.map((value) => figure(value ?? NaN)),
  ]);
  const head = [`${title}, ${unit}`, ...sizes.map((size) => size.toLocaleString("en"))];
  return table(head, lines);
}
