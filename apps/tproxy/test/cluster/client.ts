// Runs on a client's machine: makes connections as it is told by lines of JSON on its standard input, and answers each.
// Arguments: CA file.
import { readFileSync } from "node:fs";
import { Agent, request } from "node:https";
import { createInterface } from "node:readline";
import { errorMessage } from "@dstack/core";

export interface ClientCommand {
  readonly id: number;
  readonly host: string;
  readonly port: number;
  /** Name in SNI and Host. */
  readonly name: string;
  readonly path: string;
  /** Requests with the same one go over the same connection, which was open before or is made. */
  readonly connection?: string;
}

export interface ClientAnswer {
  readonly id: number;
  readonly text: string;
  /** Whether the connection had been open before. */
  readonly reused: boolean;
}

const ca = readFileSync(process.argv[2] ?? "", "utf8");
const kept = new Map<string, Agent>();
const LIMIT_MS = 8_000;

function fetchText(command: ClientCommand): Promise<{ text: string; reused: boolean }> {
  const { host, port, name, path, connection } = command;
  let agent = connection === undefined ? undefined : kept.get(connection);
  if (agent === undefined) {
    agent = new Agent({ ca, keepAlive: connection !== undefined, maxSockets: 1 });
    if (connection !== undefined) kept.set(connection, agent);
  }
  return new Promise((resolve, reject) => {
    const call = request(
      {
        host,
        port,
        path,
        servername: name,
        agent,
        headers: { host: name },
        signal: AbortSignal.timeout(LIMIT_MS),
      },
      (response) => {
        let text = "";
        response.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
        response.once("end", () => resolve({ text, reused: call.reusedSocket }));
        response.once("error", reject);
      },
    );
    call.once("error", reject);
    call.end();
  });
}

createInterface({ input: process.stdin })
  .on("line", (line) => {
    const command = JSON.parse(line) as ClientCommand;
    const say = (answer: object): void =>
      void process.stdout.write(`${JSON.stringify({ id: command.id, ...answer })}\n`);
    fetchText(command).then(say, (err: unknown) =>
      say({ text: `error: ${errorMessage(err)}`, reused: false }),
    );
  })
  .once("close", () => process.exit(0));
process.stdout.write("{}\n");
