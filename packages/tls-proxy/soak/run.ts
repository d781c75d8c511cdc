// What takes longer than a test may, on the native engine built with checks and on the one as it is:
//   node --import tsx packages/tls-proxy/soak/run.ts [seconds of attack]
// Ends with 1 when something does not hold.
import { rmSync } from "node:fs";
import { CHECKS, THREAD_CHECKS, buildCheckedEngine, temporaryDirectory } from "../test/native-engine.js";
import { run as attack } from "./attack.js";
import { run as manyConnections } from "./many-connections.js";

const seconds = Number(process.argv[2] ?? "180");
const directory = await temporaryDirectory();

function say(line: string, good: boolean): void {
  if (!good) process.exitCode = 1;
  process.stdout.write(`${good ? "ok  " : "FAIL"} ${line}\n`);
}

try {
  const { idleBytes, writerBytes, carried } = await manyConnections({ idle: 9_500, writers: 2_000 });
  say(`9,500 idle connections: ${idleBytes} bytes of the engine's memory each`, idleBytes < 4_096);
  const isFine = writerBytes < 16_384 && carried === 2_000;
  say(`2,000 slow writers: ${writerBytes} bytes each, ${carried} carried to their end`, isFine);
  for (const [name, checks] of [
    ["AddressSanitizer and UndefinedBehaviorSanitizer", CHECKS],
    ["ThreadSanitizer", THREAD_CHECKS],
  ] as const) {
    const engine = await buildCheckedEngine(directory, checks);
    const { outcomes, troubles, left, crashes } = await attack({ seconds, command: [engine] });
    const told = [...outcomes].map(([outcome, count]) => `${count} ${outcome}`).join(", ");
    if (crashes > 0) process.stdout.write(`     Node.js crashed ${crashes} times under the clients\n`);
    say(`attack of ${seconds} s under ${name}: ${told}`, troubles.length === 0 && left === 0);
    for (const trouble of troubles) process.stdout.write(`     ${trouble}\n`);
  }
} finally {
  rmSync(directory, { recursive: true });
}
