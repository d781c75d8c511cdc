import childProcess from "node:child_process";
import { once } from "node:events";
import fs from "node:fs/promises";
import { syncBuiltinESMExports } from "node:module";
import { promisify } from "node:util";

// Imported first by a program that is to be killed between two changes of the file system: counts the changes and
// ends the process with SIGKILL at the one that CRASH_AT names, having done half of it where that is possible.

const crashAt = Number(process.env["CRASH_AT"] ?? Infinity);
let changes = 0;

/** How many changes were made. */
export const changesMade = (): number => changes;

async function die(): Promise<never> {
  process.kill(process.pid, "SIGKILL");
  return new Promise<never>(() => {});
}

type Step = (...args: never[]) => Promise<unknown>;

function counted(step: Step, half?: Step): Step {
  return async function (this: unknown, ...args) {
    if (++changes === crashAt) {
      await half?.apply(this, args);
      await die();
    }
    return step.apply(this, args);
  };
}

const target = fs as unknown as Record<string, Step>;
for (const name of ["mkdir", "rename", "rm", "unlink", "writeFile", "chmod", "truncate", "copyFile"]) {
  const step = target[name];
  if (step !== undefined) target[name] = counted(step);
}

// rm(1): killed when it has hardly begun.
const { execFile } = childProcess;
const run = promisify(execFile);
const half: Step = async (_file: string, args: string[]) => {
  const victim = childProcess.spawn("sh", [
    "-c",
    'ls -A "$1" | head -n 2 | while read -r f; do rm -rf "$1/$f"; done',
    "-",
    args.at(-1) ?? "",
  ]);
  await once(victim, "exit");
};
const replaced = (): never => {
  throw new Error("only the promise form is used here");
};
childProcess.execFile = Object.assign(replaced, {
  [promisify.custom]: counted(run as unknown as Step, half),
}) as unknown as typeof execFile;

const probe = await fs.open("/dev/null", "r");
const handle = Object.getPrototypeOf(probe) as Record<string, Step>;
await probe.close();
const write = handle["writeFile"] as unknown as (this: unknown, data: string | Uint8Array) => Promise<void>;
const halfWrite = async function (this: unknown, data: string | Uint8Array): Promise<void> {
  await write.call(this, Buffer.from(data).subarray(0, Buffer.from(data).length / 2));
} as unknown as Step;
for (const name of ["writeFile", "appendFile"]) {
  const step = handle[name];
  if (step !== undefined) handle[name] = counted(step, halfWrite);
}
for (const name of ["truncate"]) {
  const step = handle[name];
  if (step !== undefined) handle[name] = counted(step);
}
syncBuiltinESMExports();
