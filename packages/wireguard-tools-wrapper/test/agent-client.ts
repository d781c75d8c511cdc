import type { ChildProcess } from "node:child_process";
import { EventEmitter, once } from "node:events";
import { createInterface } from "node:readline";
import type { WireGuardStatus } from "../src/index.js";
import type { Namespace } from "./namespace.js";

interface Answer {
  value?: unknown;
  error?: string;
  restarted?: unknown;
}

/** Drives `agent.ts` in a namespace. */
export class Agent implements AsyncDisposable {
  readonly process: ChildProcess;
  readonly #events = new EventEmitter();

  constructor(namespace: Namespace) {
    this.process = namespace.script(new URL("agent.ts", import.meta.url));
    if (this.process.stdout === null) throw new Error("no output");
    createInterface({ input: this.process.stdout }).on("line", (line) => {
      const answer = JSON.parse(line) as Answer;
      this.#events.emit("restarted" in answer ? "restarted" : "answer", answer);
    });
  }

  async call(command: string, argument = ""): Promise<unknown> {
    const answered = once(this.#events, "answer") as Promise<[Answer]>;
    this.process.stdin?.write(`${JSON.stringify([command, argument])}\n`);
    const [answer] = await answered;
    if (answer.error !== undefined) throw new Error(answer.error);
    return answer.value;
  }

  async dump(): Promise<WireGuardStatus> {
    return (await this.call("dump")) as WireGuardStatus;
  }

  /** Resolves when the supervisor says that it started wireguard-go again. */
  async restarted(): Promise<void> {
    await once(this.#events, "restarted");
  }

  async kill(): Promise<void> {
    this.process.kill("SIGKILL");
    await this.#gone();
  }

  async #gone(): Promise<void> {
    if (this.process.exitCode === null && this.process.signalCode === null) await once(this.process, "exit");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.process.exitCode !== null || this.process.signalCode !== null) return;
    await this.call("close").catch(() => {});
    this.process.stdin?.end();
    await this.#gone();
  }
}
