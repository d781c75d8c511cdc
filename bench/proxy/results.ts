import type { Spread } from "./statistics.js";

/** What a contender costs in one row. */
export interface Cell {
  /** In the row's unit, one a round. */
  readonly values: readonly number[];
  readonly spread: Spread;
  /** To HAProxy at its best, of the same round each; absent where that is no question of a ratio. */
  readonly ratio?: Spread;
}

export interface RowResult {
  readonly name: string;
  /** What a value is: such as `µs of CPU a connection`. */
  readonly unit: string;
  readonly goal: number;
  /** Whether the goal is for the ratio or for the value itself. */
  readonly goalFor: "ratio" | "value";
  /** The variant of HAProxy that was best; ratios are to it. */
  readonly base: string;
  /** By name of the contender. */
  readonly cells: Readonly<Record<string, Cell>>;
}

/** What grows, and a contender's cost at each size. */
export interface Growth {
  readonly title: string;
  readonly unit: string;
  readonly sizes: readonly number[];
  /** NaN is written as null: not measured. */
  readonly series: Readonly<Record<string, readonly (number | null)[]>>;
}

/** A whole run. */
export interface Results {
  readonly date: string;
  readonly quick: boolean;
  readonly rounds: number;
  readonly versions: Readonly<Record<string, string>>;
  readonly machine: { readonly kernel: string; readonly cpu: string; readonly cores: number };
  /** The load average of a minute, at the start of each round and at the end. Some of it is this run's own. */
  readonly loadAverages: readonly number[];
  readonly minutes: number;
  readonly rows: readonly RowResult[];
  readonly growth: readonly Growth[];
}

/** Does our native engine reach the goal? */
export function isMet({ cells, goal, goalFor }: RowResult): boolean {
  const { native } = cells;
  const reached = goalFor === "ratio" ? native?.ratio?.median : native?.spread.median;
  return reached !== undefined && reached <= goal;
}
