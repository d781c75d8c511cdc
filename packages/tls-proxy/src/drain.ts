import { sleep } from "@dstack/core";
import type { DataPlaneStats, DrainScope } from "./data-plane.js";

const LOOK_EVERY_MS = 50;

/** Waits until nothing of the scope is open, at most `limitMs` and no longer than the signal lets it. */
export async function waitUntilGone(
  stats: () => DataPlaneStats,
  scope: DrainScope,
  limitMs: number,
  signal: AbortSignal,
): Promise<void> {
  const open = (): number =>
    scope === "all" ? stats().open : (stats().openByInstance.get(scope.instanceId) ?? 0);
  const until = performance.now() + limitMs;
  while (open() > 0 && performance.now() < until && !signal.aborted) {
    await sleep(Math.min(LOOK_EVERY_MS, limitMs), signal).catch(() => {});
  }
}
