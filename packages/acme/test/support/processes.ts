import { setTimeout as delay } from "node:timers/promises";
import { execa } from "execa";
import { rm } from "node:fs/promises";

export interface RunningProgram extends AsyncDisposable {
  output(): string;
}

/** Starts a program and waits until `ready` holds; ends it and removes its directory when disposed. */
export async function startProgram(
  command: string,
  args: readonly string[],
  options: { ready: () => Promise<boolean>; env?: Record<string, string>; dir: string },
): Promise<RunningProgram> {
  const child = execa(command, args, { cwd: options.dir, env: options.env ?? {}, all: true, reject: false });
  let output = "";
  let ended = false;
  child.all.on("data", (chunk: Buffer) => (output += chunk.toString()));
  void child.then(() => (ended = true));
  const running: RunningProgram = {
    output: () => output,
    async [Symbol.asyncDispose]() {
      child.kill("SIGKILL");
      await child;
      await rm(options.dir, { recursive: true, force: true });
    },
  };
  for (let tries = 0; tries < 10_000; tries++) {
    if (ended) break;
    if (await options.ready().catch(() => false)) return running;
    await delay(25);
  }
  await running[Symbol.asyncDispose]();
  throw new Error(`${command} did not start: ${output}`);
}
