import { CHECKS, THREAD_CHECKS, buildCheckedEngine } from "../../../packages/tls-proxy/test/native-engine.js";
import { run } from "../../../packages/tls-proxy/test/attack/attack.js";
import { withDirectory } from "./directory.js";
import type { Scenario } from "./scenario.js";

/** The native engine, built with checks that end it at the first fault, stands malicious clients and apps. */
const attack = (what: string, checks: readonly string[]): Scenario => ({
  about: `malicious clients and apps, at random, while routes, certificate and listeners change: the native engine under ${what}`,
  minutes: 2,
  run: (minutes) =>
    withDirectory(async (directory) => {
      const engine = await buildCheckedEngine(directory, [...checks]);
      const { outcomes, troubles, left } = await run({ seconds: minutes * 60, command: [engine] });
      const total = [...outcomes.values()].reduce((sum, count) => sum + count, 0);
      const told = [...outcomes].map(([outcome, count]) => `${outcome} ${count}`).toSorted();
      return {
        passed: troubles.length === 0 && left === 0 && total > 0,
        facts:
          `${total} connections in ${minutes} minutes (${told.join(", ")}); ${left} left open, ` +
          (troubles.length === 0 ? "no trouble" : troubles.join("; ")),
      };
    }),
});

export const attackMemory = attack("AddressSanitizer and UndefinedBehaviorSanitizer", CHECKS);
export const attackThreads = attack("ThreadSanitizer", THREAD_CHECKS);
