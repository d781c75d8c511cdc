import { attackMemory, attackThreads } from "./attacks.js";
import { attackControl } from "./attack-control.js";
import { idleConnections, slowWriters } from "./crowds.js";
import { kills } from "./kills.js";
import { manyPeers } from "./peers.js";
import type { Scenario } from "./scenario.js";
import { steadyLoad } from "./steady.js";
import { storm } from "./storm.js";

/** In the order in which all are run. */
export const SCENARIOS: ReadonlyMap<string, Scenario> = new Map([
  ["idle", idleConnections],
  ["slow-writers", slowWriters],
  ["peers", manyPeers],
  ["kills", kills],
  ["steady", steadyLoad],
  ["attack-memory", attackMemory],
  ["attack-threads", attackThreads],
  ["attack-control", attackControl],
  ["storm", storm],
]);
