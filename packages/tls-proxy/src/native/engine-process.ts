import { spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { Duplex } from "node:stream";
import { EventReader } from "./events.js";
import type { EngineEvent } from "./events.js";

/** How an engine ends that was told to. */
export const ENDED_WELL = "exit code 0";

/** How long an engine that was told to stop may take for its last reports. */
const STOP_LIMIT_MS = 8_000;

/** One run of the engine in a process of its own, and the stream to it. */
export class EngineProcess {
  /** Settles when the process is over, with how it ended. Never rejects. */
  readonly ended: Promise<string>;
  isOver = false;
  readonly #child: ChildProcess;
  readonly #stream: Duplex;
  #killedFor: string | undefined;

  /**
   * @param command program and arguments; the stream is its descriptor 3
   * @param onEvent gets everything the engine says, in its order
   */
  constructor(command: readonly string[], onEvent: (event: EngineEvent) => void) {
    const [program = "", ...args] = command;
    // Nothing of our environment is its business.
    this.#child = spawn(program, args, { stdio: ["ignore", "inherit", "inherit", "pipe"], env: {} });
    const stream = this.#child.stdio[3];
    if (!(stream instanceof Duplex)) throw new TypeError("a pipe of a child process is a duplex stream");
    this.#stream = stream;
    const reader = new EventReader();
    stream.on("data", (chunk: Buffer) => {
      try {
        for (const event of reader.push(chunk)) onEvent(event);
      } catch {
        this.kill(); // what it says makes no sense any more
      }
    });
    // Broken by the engine's end, which `ended` tells.
    stream.on("error", () => {});
    this.ended = new Promise((resolve) => {
      const over = (how: string): void => {
        this.isOver = true;
        resolve(how);
      };
      this.#child.once("error", (err) => over(err.message));
      this.#child.once("close", (code, signal) => over(this.#killedFor ?? signal ?? `exit code ${code}`));
    });
  }

  send(frame: Buffer): void {
    if (this.#stream.writable) this.#stream.write(frame);
  }

  /** @param why what {@link ended} says then; the signal unless given */
  kill(why?: string): void {
    this.#killedFor ??= why;
    this.#child.kill("SIGKILL");
  }

  /** Waits for its end, which has been asked for, and forces it after a while. */
  async waitForEnd(): Promise<string> {
    const timer = setTimeout(() => this.kill(), STOP_LIMIT_MS);
    const how = await this.ended;
    clearTimeout(timer);
    return how;
  }
}
