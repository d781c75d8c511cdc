/**
 * What takes too long for the tests: crowds, attacks, thousands of peers, hundreds that register at once, minutes of load, and
 * kill -9 again and again.
 *
 *     pnpm soak:proxy [--minutes n] [--json] [scenario…]
 *
 * Each scenario has a process, its processes, a network and a time limit of its own: nothing of it outlives it. Ends with
 * exit code 1 when one has not shown what it should. Needs root.
 */
import { spawn } from "node:child_process";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import type { Readable } from "node:stream";
import { parseArgs } from "node:util";
import { errorMessage } from "../../packages/core/src/index.js";
import { buildAddon } from "./contenders/ours.js";
import { inOwnNetwork } from "./machine.js";
import type { Finding, Scenario } from "./soak/scenario.js";
import { SCENARIOS } from "./soak/scenarios.js";

/** Beyond the minutes that a scenario goes on anyway. On a machine of its own none needs more than five. */
const LIMIT_MINUTES = 30;
const RUN_SCENARIO = join(import.meta.dirname, "soak/run-scenario.ts");

const HELP = `pnpm soak:proxy [--minutes n] [--json] [scenario…]

  --minutes n   how long those go on that have a time below
  --json        a line of JSON for each scenario, instead of a sentence

Scenarios; all of them unless some are named:
${[...SCENARIOS].map(([name, { about, minutes }]) => `  ${name}${minutes === undefined ? "" : ` (${minutes} min)`}: ${about}`).join("\n")}
`;

/** Runs it with processes and a network of its own; all of them end with it, at the latest at its limit. */
async function runApart(name: string, minutes: number, stop: AbortSignal): Promise<Finding> {
  const limit = AbortSignal.timeout((minutes + LIMIT_MINUTES) * 60_000);
  const program = [process.execPath, ...process.execArgv, RUN_SCENARIO, name, String(minutes)];
  const [file, args] = inOwnNetwork(program, ["--pid", "--fork", "--mount-proc", "--kill-child"]);
  const child = spawn(file, args, {
    // What programs have to say beside the findings goes to stderr.
    stdio: ["ignore", process.stderr, process.stderr, "pipe"],
    signal: AbortSignal.any([stop, limit]),
    killSignal: "SIGKILL",
  });
  child.once("error", () => {}); // it closes then, too, and has found nothing
  const over = new Promise((resolve) => child.once("close", resolve));
  const found = await text(child.stdio[3] as Readable);
  await over;
  if (found !== "") return JSON.parse(found) as Finding;
  const end = limit.aborted ? `its limit of ${minutes + LIMIT_MINUTES} minutes` : "a finding";
  return { passed: false, facts: `ended with ${child.exitCode ?? child.signalCode} before ${end}` };
}

/** @returns whether all have passed */
async function runAll(
  chosen: ReadonlyMap<string, Scenario>,
  options: { minutes: number | undefined; json: boolean; stop: AbortSignal },
): Promise<boolean> {
  const began = performance.now();
  const failed: string[] = [];
  for (const [name, scenario] of chosen) {
    const at = performance.now();
    const { passed, facts } = await runApart(name, options.minutes ?? scenario.minutes ?? 0, options.stop);
    if (options.stop.aborted) return false;
    if (!passed) failed.push(name);
    const seconds = Math.round((performance.now() - at) / 1000);
    const line = `${passed ? "passed" : "FAILED"}  ${name} (${seconds} s): ${facts}`;
    console.log(options.json ? JSON.stringify({ name, passed, seconds, facts }) : line);
  }
  const minutes = ((performance.now() - began) / 60_000).toFixed(1);
  const summary = `${chosen.size - failed.length} of ${chosen.size} scenarios passed in ${minutes} minutes`;
  console.error(failed.length === 0 ? summary : `${summary}; failed: ${failed.join(", ")}`);
  return failed.length === 0;
}

/** @throws when there is something that is not known */
function readArguments() {
  const { values, positionals } = parseArgs({
    options: { minutes: { type: "string" }, json: { type: "boolean" }, help: { type: "boolean" } },
    allowPositionals: true,
  });
  const minutes = values.minutes === undefined ? undefined : Number(values.minutes);
  if (minutes !== undefined && !(minutes > 0 && minutes <= 10_000))
    throw new Error("--minutes wants a number");
  const unknown = positionals.find((name) => !SCENARIOS.has(name));
  if (unknown !== undefined) throw new Error(`no scenario ${unknown}; --help tells which there are`);
  const chosen = [...SCENARIOS].filter(([name]) => positionals.length === 0 || positionals.includes(name));
  return { help: values.help === true, json: values.json === true, minutes, chosen: new Map(chosen) };
}

async function main(): Promise<number> {
  let wanted;
  try {
    wanted = readArguments();
  } catch (err) {
    console.error(errorMessage(err));
    return 2;
  }
  if (wanted.help) {
    process.stdout.write(HELP);
    return 0;
  }
  if (process.getuid?.() !== 0) throw new Error("namespaces and WireGuard need root");
  const stop = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"]) process.once(name, () => stop.abort());
  buildAddon();
  return (await runAll(wanted.chosen, { ...wanted, stop: stop.signal })) ? 0 : 1;
}

process.exitCode = await main();
