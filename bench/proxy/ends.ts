import { execFileSync, spawn } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { ENDS_CPU } from "./machine.js";

/** Where the app answers: in clear, after a ClientHello that it skips, and inside TLS. */
export const APP_PORT = 9001;
export const APP_TLS_PORT = 9002;

/** What the load generator does. */
export interface Load {
  /** `canned`: a real ClientHello and clear text after it. `resumed`: TLS with a session from before the clock ran. */
  readonly speech: "canned" | "tls" | "resumed";
  /** Connections at work at a time. */
  readonly atOnce: number;
  readonly connections: number;
  readonly requestsEach: number;
  readonly answerBytes: number;
}

/** What came of it. */
export interface LoadResult {
  readonly requests: number;
  readonly failed: number;
  readonly resumed: number;
  readonly bytes: number;
  readonly seconds: number;
  readonly latencyUs: {
    readonly p50: number;
    readonly p99: number;
    readonly p999: number;
    readonly max: number;
  };
}

/** Load generator and app, in C. */
export class Ends implements Disposable {
  private constructor(
    readonly program: string,
    readonly app: ChildProcess,
  ) {}

  /** Builds both in `directory` and starts the app with the certificate. */
  static async start(directory: string, certPath: string, keyPath: string): Promise<Ends> {
    const program = join(directory, "ends");
    execFileSync(join(import.meta.dirname, "ends/build.sh"), [program], { stdio: "inherit" });
    const args = [String(APP_PORT), String(APP_TLS_PORT), certPath, keyPath];
    const app = spawn("taskset", ["-c", String(ENDS_CPU), program, "backend", ...args], {
      stdio: ["ignore", "pipe", "inherit"],
    });
    await once(createInterface(app.stdout), "line");
    return new Ends(program, app);
  }

  /**
   * Makes a load and waits for its end.
   * @param name server name, or `@` and a file with one a line
   * @param pinned on the core of the ends; else wherever there is room
   * @throws when a connection failed, or a resumption
   */
  async run(port: number, name: string, load: Load, pinned = true): Promise<LoadResult> {
    const client = this.#client(port, name, load, pinned, []);
    return check(await onlyLine(client), load);
  }

  /** Opens connections, makes the requests on each, and keeps all open until disposed of. */
  async hold(port: number, name: string, load: Load): Promise<AsyncDisposable> {
    const client = this.#client(port, name, load, true, ["hold"]);
    check(await onlyLine(client), load);
    return {
      [Symbol.asyncDispose]: async () => {
        const over = once(client, "close");
        client.stdin.end();
        await over;
      },
    };
  }

  #client(port: number, name: string, load: Load, pinned: boolean, more: readonly string[]) {
    const counts = [load.atOnce, load.connections, load.requestsEach, load.answerBytes].map(String);
    const command = [this.program, "load", String(port), name, load.speech, ...counts, ...more];
    const pin = pinned ? ["taskset", "-c", String(ENDS_CPU)] : [];
    const [file = "", ...args] = [...pin, ...command];
    return spawn(file, args, { stdio: ["pipe", "pipe", "inherit"] });
  }

  [Symbol.dispose](): void {
    this.app.kill("SIGKILL");
  }
}

/** @throws when it ends without having said anything */
function onlyLine(client: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    if (client.stdout !== null) createInterface({ input: client.stdout }).once("line", resolve);
    client.once("error", reject);
    client.once("close", (code) => reject(new Error(`load generator: exit code ${String(code)}`)));
  });
}

function check(line: string, { speech, connections, requestsEach }: Load): LoadResult {
  const result = JSON.parse(line) as LoadResult;
  if (result.failed > 0 || result.requests !== connections * requestsEach) {
    throw new Error(`${result.failed} of ${connections} connections failed`);
  }
  if (speech === "resumed" && result.resumed !== connections) {
    throw new Error(`only ${result.resumed} of ${connections} sessions were resumed`);
  }
  return result;
}
