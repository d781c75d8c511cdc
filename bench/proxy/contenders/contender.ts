import { spawn } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { PROXY_CPU, processTree } from "../machine.js";
import type { Site } from "../site.js";

/** What a row measures: `pass` is TLS handed on, `end` is TLS that ends in the proxy. */
export type Kind = "pass" | "end";

/** A proxy that is measured. */
export interface Contender {
  readonly name: string;
  readonly kinds: readonly Kind[];
  start(site: Site, options: StartOptions): Promise<Running>;
}

export interface StartOptions {
  /** On the core of the proxy; else wherever there is room. */
  readonly pinned: boolean;
  /** The control plane works for 20 ms of every 100 ms; a proxy that has none gets a process beside it that does. */
  readonly busy: boolean;
  /** Relay threads, or workers; 1 unless it says otherwise. */
  readonly threads?: number;
}

/** One that runs. */
export interface Running extends AsyncDisposable {
  port(kind: Kind): number;
  /** All its processes. */
  pids(): number[];
}

/** Starts a program, pinned or not; ends with its whole tree. */
export async function launch(
  command: readonly [string, ...string[]],
  ports: Partial<Record<Kind, number>>,
  { pinned }: StartOptions,
): Promise<Running> {
  const [file, ...args] = pinned ? ["taskset", "-c", String(PROXY_CPU), ...command] : command;
  const child = spawn(file, args, { stdio: ["ignore", "ignore", "inherit"] });
  for (const port of Object.values(ports)) await waitForListener(port, child);
  return {
    port: (kind) => ports[kind] ?? 0,
    pids: () => processTree(child.pid ?? 0),
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      child.kill("SIGTERM");
      await once(child, "exit");
    },
  };
}

const START_LIMIT_MS = 60_000;

async function waitForListener(port: number, child: { exitCode: number | null }): Promise<void> {
  const until = performance.now() + START_LIMIT_MS;
  while (performance.now() < until && child.exitCode === null) {
    const socket = connect(port, "127.0.0.1");
    const isOpen = await once(socket, "connect").then(
      () => true,
      () => false,
    );
    socket.destroy();
    if (isOpen) return;
    await sleep(20);
  }
  throw new Error(`nothing listens on port ${port}`);
}
