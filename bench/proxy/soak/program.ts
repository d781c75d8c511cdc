import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** A program of ours that talks in lines of JSON; it is killed when it is disposed of. */
export interface Program extends AsyncDisposable {
  readonly pid: number;
  /** The next line. @throws when it has ended */
  next(): Promise<unknown>;
  /** Says a line to it. @returns its next one */
  ask(line: string): Promise<unknown>;
}

/** @param file in this directory */
export function startProgram(file: string, ...args: string[]): Program {
  const child = spawn(process.execPath, ["--import", "tsx", join(import.meta.dirname, file), ...args], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ended = once(child, "exit");
  child.stdin.on("error", () => {}); // its end is seen where its next line is waited for
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<unknown> => {
    const { value, done } = await lines.next();
    if (done !== true) return JSON.parse(value);
    await ended;
    throw new Error(`${file} has ended with ${child.exitCode ?? child.signalCode}`);
  };
  return {
    pid: child.pid ?? 0,
    next,
    ask: (line) => {
      child.stdin.write(`${line}\n`);
      return next();
    },
    [Symbol.asyncDispose]: async () => {
      child.kill("SIGKILL");
      await ended;
    },
  };
}
