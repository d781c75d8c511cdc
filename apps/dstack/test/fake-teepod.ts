import { createApp, listenHttp, silentLogger } from "@dstack/daemon";
import { teepod } from "@dstack/proto";
import { RpcError, implement, mountPrpc } from "@dstack/prpc";
import { vi } from "vitest";
import { createProgram } from "../src/program.js";

type App = ReturnType<typeof createApp>;
type Answers = Partial<Record<keyof typeof teepod.Teepod.method, (request: never) => Promise<object>>>;

/** A teepod that gives the test's answers and refuses every other call. */
export async function fakeTeepod(
  answers: Answers,
  more: { port?: number; routes?: (app: App) => void } = {},
) {
  const app = createApp({ log: silentLogger() });
  const refuse = async (): Promise<never> => {
    throw new RpcError("internal", "the test does not answer this");
  };
  const methods = Object.keys(teepod.Teepod.method).map((name) => [name, refuse]);
  const handlers = { ...Object.fromEntries(methods), ...answers } as Parameters<
    typeof implement<typeof teepod.Teepod>
  >[1];
  mountPrpc(app, [implement(teepod.Teepod, handlers)]);
  more.routes?.(app);
  const listener = await listenHttp({ app, address: { host: "127.0.0.1", port: more.port ?? 0 } });
  return {
    url: `http://127.0.0.1:${listener.port}`,
    port: listener.port,
    token: undefined,
    [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose](),
  };
}

/** Runs a command in this process; rejects as the command does, with what it wrote till then as `stdout`. @returns what it wrote to stdout */
export async function dstack(...args: string[]): Promise<string> {
  let out = "";
  const write = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    out += String(text);
    return true;
  });
  const progress = vi.spyOn(process.stderr, "write").mockReturnValue(true);
  try {
    await createProgram().parseAsync(args, { from: "user" });
  } catch (err) {
    throw err instanceof Error ? Object.assign(err, { stdout: out }) : err;
  } finally {
    write.mockRestore();
    progress.mockRestore();
  }
  return out;
}
