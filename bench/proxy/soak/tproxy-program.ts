// A tproxy that tells of its event loop. Argument: a file with its configuration, JSON. Prints a line when it serves, and for
// each line of stdin the longest delay of its event loop since the last one, as JSON; ends with stdin.
import { readFileSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { createInterface } from "node:readline";
import { createLogger } from "../../../packages/daemon/src/index.js";
import { TproxyConfig, startTproxy } from "../../../apps/tproxy/src/index.js";

const RESOLUTION_MS = 5;

const config = TproxyConfig.parse(JSON.parse(readFileSync(process.argv[2] ?? "", "utf8")));
const log = createLogger({ name: "tproxy", level: "error" });
await using tproxy = await startTproxy(config, { log });
const delay = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
delay.enable();
process.stdout.write(`${JSON.stringify({ url: tproxy.url })}\n`);
for await (const _line of createInterface({ input: process.stdin })) {
  const [p99Ms, longestMs] = [delay.percentile(99), delay.max].map((ns) => ns / 1e6);
  delay.reset();
  process.stdout.write(`${JSON.stringify({ p99Ms, longestMs })}\n`);
}
