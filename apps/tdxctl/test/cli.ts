import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type QuoteProvider, SimulatedPlatform, createSimulatedProvider } from "@dstack/tdx-attest";
import { onTestFinished } from "vitest";
import type { CliContext } from "../src/context.js";
import { createProgram, run } from "../src/program.js";

export interface Outcome {
  readonly code: number;
  readonly stdout: Buffer;
  readonly text: string;
  readonly stderr: string;
}

/** tdxctl on a machine of its own: a simulated TD that lasts for one test. */
export class Machine {
  readonly platform = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(1));
  readonly provider: QuoteProvider = createSimulatedProvider({ platform: this.platform });

  private constructor(readonly dir: string) {}

  static async start(): Promise<Machine> {
    const dir = await mkdtemp(join(tmpdir(), "tdxctl-"));
    onTestFinished(() => rm(dir, { recursive: true, force: true }));
    return new Machine(dir);
  }

  path(name: string): string {
    return join(this.dir, name);
  }

  /** Runs one command line. */
  async run(
    args: readonly string[],
    { stdin = new Uint8Array(), terminal = false }: { stdin?: Uint8Array; terminal?: boolean } = {},
  ): Promise<Outcome> {
    const out: Buffer[] = [];
    let stderr = "";
    const context: CliContext = {
      stdin: chunks(stdin),
      outputIsTerminal: terminal,
      print: (output) => void out.push(Buffer.from(output)),
      printError: (text) => void (stderr += text),
      openProvider: async () => this.provider,
    };
    const argv = ["node", "tdxctl", "--event-log", this.path("log/events.log"), ...args];
    const code = await run(createProgram(context), argv);
    const stdout = Buffer.concat(out);
    return { code, stdout, text: stdout.toString(), stderr };
  }

  /** As {@link run}, for a command that must succeed and print JSON. */
  async json(args: readonly string[], stdin?: Uint8Array): Promise<Record<string, unknown>> {
    const outcome = await this.run([...args, "--json"], stdin === undefined ? {} : { stdin });
    if (outcome.code !== 0) throw new Error(outcome.stderr);
    return JSON.parse(outcome.text) as Record<string, unknown>;
  }
}

/** As a pipe brings it: in parts. */
async function* chunks(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let i = 0; i < bytes.length; i += 10) yield bytes.subarray(i, i + 10);
}
