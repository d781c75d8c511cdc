import { runKillLoop } from "../../../apps/tproxy/test/cluster/kill-loop.js";
import type { Scenario } from "./scenario.js";

/** From the start of its process, less what that waits for a processor that others have. */
const TUNNELS_UP_MS = 2_000;

/** kill -9 of tproxy, again and again, under load: nothing that was acknowledged is lost, and every tunnel carries again. */
export const kills: Scenario = {
  about: "kill -9 of tproxy under load, again and again: no registration lost, tunnels up within two seconds",
  minutes: 1,
  run: async (minutes) => {
    const result = await runKillLoop(minutes * 60);
    const [own, anew] = [result.untilReached, result.untilReachedAnew].map(summary);
    const longest = Math.max(...result.untilReached, ...result.untilReachedAnew);
    return {
      passed:
        result.lost.length === 0 && result.answered > 0 && result.registered > 0 && longest <= TUNNELS_UP_MS,
      facts:
        `${result.answered} requests answered, ${result.registered} registrations acknowledged; all guests were reached, waiting for a processor not counted, after tproxy's death ` +
        `${own}, after its interface's too ${anew}; ${result.lost.length === 0 ? "nothing lost" : result.lost.join("; ")}`,
    };
  },
};

function summary(times: readonly number[]): string {
  const sorted = times.toSorted((x, y) => x - y);
  return `${sorted.length} times within ${sorted.at(-1) ?? 0} ms (median ${sorted[Math.floor(sorted.length / 2)] ?? 0})`;
}
