import { ours } from "../contenders/ours.js";
import { residentBytes } from "../machine.js";
import { namesOf } from "../site.js";
import { mib } from "./scenario.js";
import type { Finding, Scenario } from "./scenario.js";
import { onStage } from "./stage.js";
import type { Stage } from "./stage.js";

/** Growth that warming up does not explain. */
const MAX_GROWTH_BYTES = 32 * 2 ** 20;
const CONNECTION = { atOnce: 64, requestsEach: 1, answerBytes: 200 } as const;

/** Every kind of connection for minutes: none fails, and memory stays where it is after the first of them. */
export const steadyLoad: Scenario = {
  about: "every kind of connection, one load after the other: none fails, memory stays where it is",
  minutes: 1,
  run: (minutes) => onStage((stage) => keepLoading(stage, minutes)),
};

async function keepLoading({ ends, site }: Stage, minutes: number): Promise<Finding> {
  await using proxy = await ours("native").start(site, { pinned: false, busy: false });
  const names = namesOf(site.ids[0] ?? "");
  const until = performance.now() + minutes * 60_000;
  let [connections, first, last] = [0, 0, 0];
  do {
    await ends.run(proxy.port("pass"), names.canned, { ...CONNECTION, speech: "canned", connections: 4_000 });
    await ends.run(proxy.port("pass"), names.passed, { ...CONNECTION, speech: "tls", connections: 400 });
    await ends.run(proxy.port("end"), names.ended, { ...CONNECTION, speech: "resumed", connections: 400 });
    await ends.run(proxy.port("end"), names.ended, {
      ...{ speech: "tls", atOnce: 16, connections: 16, requestsEach: 1 },
      answerBytes: 4 * 2 ** 20,
    });
    connections += 4_816;
    last = residentBytes(proxy.pids());
    if (first === 0) first = last;
  } while (performance.now() < until);
  return {
    passed: last - first <= MAX_GROWTH_BYTES,
    facts: `${connections} connections in ${minutes} minutes, none failed; memory ${mib(first)} after the first 4,816, ${mib(last)} at the end`,
  };
}
