/**
 * What takes too long for the tests: crowds, thousands of peers, hundreds that register at once, minutes of load, and kill -9 again and again.
 *
 *     pnpm soak:proxy [--minutes 1] [scenario…]
 *
 * Ends with exit code 1 when a scenario has not shown what it should. Needs root, for namespaces and WireGuard.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { errorMessage } from "../../packages/core/src/index.js";
import { buildHost } from "./contenders/ours.js";
import { Ends } from "./ends.js";
import { enterOwnNetwork } from "./machine.js";
import { makeSite } from "./site.js";
import { idleConnections, slowWriters } from "./soak/crowds.js";
import { kills } from "./soak/kills.js";
import { manyPeers } from "./soak/peers.js";
import type { Finding, Scenario, SoakParts } from "./soak/scenario.js";
import { steadyLoad } from "./soak/steady.js";
import { storm } from "./soak/storm.js";

const SCENARIOS: Readonly<Record<string, Scenario>> = {
  idle: idleConnections,
  "slow-writers": slowWriters,
  peers: manyPeers,
  storm,
  kills,
  steady: steadyLoad,
};

async function runAll(names: readonly string[], minutes: number): Promise<boolean> {
  const directory = mkdtempSync(join(tmpdir(), "soak-proxy-"));
  try {
    const site = makeSite(directory, 100);
    buildHost(site);
    using ends = await Ends.start(directory, site.certPath, site.keyPath);
    const parts: SoakParts = { ends, site, minutes };
    let passed = true;
    for (const name of names) {
      const began = performance.now();
      const found = await SCENARIOS[name]?.(parts).catch((err: unknown): Finding => ({
        passed: false,
        facts: errorMessage(err),
      }));
      passed &&= found?.passed === true;
      const seconds = ((performance.now() - began) / 1000).toFixed(0);
      console.log(`${found?.passed === true ? "passed" : "FAILED"}  ${name} (${seconds} s): ${found?.facts}`);
    }
    return passed;
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const { values, positionals } = parseArgs({
  options: { minutes: { type: "string", default: "1" } },
  allowPositionals: true,
});
const unknown = positionals.find((name) => !(name in SCENARIOS));
if (unknown !== undefined) {
  console.error(`no scenario ${unknown}; there are: ${Object.keys(SCENARIOS).join(", ")}`);
  process.exit(2);
}
enterOwnNetwork();
const chosen = positionals.length === 0 ? Object.keys(SCENARIOS) : positionals;
process.exit((await runAll(chosen, Number(values.minutes))) ? 0 : 1);
