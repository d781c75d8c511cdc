import { PassThrough } from "node:stream";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { followLogs } from "../src/follow-logs.js";
import { freePort } from "../../../packages/core/test/support/ports.js";
import { createProgram } from "../src/program.js";
import { fakeTeepod } from "./fake-teepod.js";

const ID = "cb4bf9a0-a3d9-40d9-8be5-99560f557345";
const vm = { id: ID, name: "web", status: "running" };

let out: string;
let told: string;
beforeEach(() => {
  out = told = "";
  vi.spyOn(process.stdout, "write").mockImplementation((text) => ((out += String(text)), true));
  vi.spyOn(process.stderr, "write").mockImplementation((text) => ((told += String(text)), true));
});
afterEach(() => void vi.restoreAllMocks());

/** A teepod whose console is what the test writes into the newest of `consoles`. */
async function pod({ port = 0, refuse = 0 } = {}) {
  const queries: URLSearchParams[] = [];
  const consoles: PassThrough[] = [];
  const daemon = await fakeTeepod(
    { status: async () => ({ vms: [vm] }) },
    {
      port,
      routes: (app) => {
        app.get("/logs", async (request, reply) => {
          queries.push(new URLSearchParams(request.url.split("?")[1]));
          if (refuse > 0) return reply.code(refuse).send({ error: "no more" });
          const console = new PassThrough();
          consoles.push(console);
          reply.raw.once("pipe", () => reply.raw.flushHeaders());
          return reply.send(console);
        });
      },
    },
  );
  const newest = (n: number): Promise<PassThrough> =>
    vi.waitFor(() => {
      const console = consoles[n];
      if (console === undefined) throw new Error("nobody has asked yet");
      return console;
    }, WAIT);
  return { ...daemon, queries, newest };
}
const WAIT = { timeout: 120_000, interval: 20 };

/** Runs `dstack logs`. @returns what it ends with, undefined for 0 */
function logs(url: string, ...args: string[]): Promise<unknown> {
  const run = createProgram().parseAsync(["logs", "web", "--host", url, ...args], { from: "user" });
  return run.then(
    () => undefined,
    (err: unknown) => err,
  );
}

/** As Ctrl-C in the command's terminal. */
async function interrupting<T>(command: () => Promise<T>, when: () => Promise<unknown>): Promise<T> {
  const others = process.listeners("SIGINT");
  const running = command();
  await when();
  for (const listener of process.listeners("SIGINT").filter((l) => !others.includes(l))) {
    process.removeListener("SIGINT", listener);
    listener("SIGINT");
  }
  return running;
}

describe("dstack logs", () => {
  it("prints the last lines, made safe, and ends with 0", async () => {
    await using teepod = await pod();
    const running = logs(teepod.url, "--lines", "7");
    (await teepod.newest(0)).end("one\r\n\u001b[2Jtwo\r\n");
    expect(await running).toBeUndefined();
    expect(out).toBe("one\n\\x1b[2Jtwo\n");
    expect(Object.fromEntries(teepod.queries[0] ?? [])).toEqual({
      ...{ id: ID, ansi: "false", follow: "false", lines: "7" },
    });
  });

  it("--since asks for all of that time, --json prints a document a line", async () => {
    await using teepod = await pod();
    const running = logs(teepod.url, "--since", "10m", "--json");
    const console = await teepod.newest(0);
    console.write("one\r\ntw");
    console.end("o\r");
    expect(await running).toBeUndefined();
    expect(out).toBe('{"line":"one"}\n{"line":"two"}\n');
    const { since, lines } = Object.fromEntries(teepod.queries[0] ?? []);
    expect([since, lines]).toEqual(["10m", undefined]);
  });

  it("ends with 1 when the connection is lost amid them", async () => {
    await using teepod = await pod();
    const running = logs(teepod.url);
    const console = await teepod.newest(0);
    console.write("one\n");
    await vi.waitFor(() => expect(out).toBe("one\n"), WAIT);
    console.destroy(new Error("lost"));
    expect(await running).toBeInstanceOf(Error);
  });
});

describe("T6: a console that wears its reader out", () => {
  it.each([
    ["text", []],
    ["lines as JSON", ["--json"]],
  ])("CRs alone, and a line without an end: %s", async (_, more) => {
    await using teepod = await pod();
    const running = logs(teepod.url, ...more);
    const console = await teepod.newest(0);
    for (let i = 0; i < 8; i++) console.write("\r".repeat(40_000));
    for (let i = 0; i < 40; i++) console.write("x".repeat(60_000));
    await vi.waitFor(() => expect(out.length).toBeGreaterThan(2 ** 20), WAIT);
    console.end();
    expect(await running).toBeUndefined();
  });

  it("a refusal that does not end", async () => {
    await using teepod = await fakeTeepod(
      { status: async () => ({ vms: [vm] }) },
      {
        routes: (app) => {
          app.get("/logs", async (_, reply) => {
            const endless = new PassThrough();
            endless.write(`no ${"more ".repeat(20_000)}`);
            reply.raw.once("close", () => endless.destroy());
            return reply.code(500).send(endless);
          });
        },
      },
    );
    expect(await logs(teepod.url)).toMatchObject({
      exitCode: 1,
      message: expect.stringMatching(/^the teepod refuses \(500\): no more .{400,500}$/) as unknown,
    });
  });
});

describe("dstack logs -f", () => {
  it("goes on when the teepod was restarted, and says so", async () => {
    const first = await pod({ port: await freePort() });
    await interrupting(
      () => logs(first.url, "-f", "--json"),
      async () => {
        (await first.newest(0)).write("one\nhal");
        await vi.waitFor(() => expect(out).toBe('{"line":"one"}\n'), WAIT);
        (await first.newest(0)).end();
        await first[Symbol.asyncDispose]();
        await using second = await pod({ port: first.port });
        (await second.newest(0)).write("half a line\n");
        await vi.waitFor(() => expect(out).toContain('{"line":"half a line"}\n'), WAIT);
        expect(told).toMatch(
          /^dstack: the connection to the teepod was lost; .*\n.* is there again; .* twice\n$/,
        );
        // What was written since, by the teepod's own clock.
        const { since, lines, follow, id } = Object.fromEntries(second.queries[0] ?? []);
        expect([lines, follow, id]).toEqual([undefined, "true", ID]);
        expect(since).toMatch(/^\d+s$/);
      },
    );
  });

  it("ends with 130 by Ctrl-C", async () => {
    await using teepod = await pod();
    const end = await interrupting(
      () => logs(teepod.url, "-f"),
      async () => {
        (await teepod.newest(0)).write("one\n");
        await vi.waitFor(() => expect(out).toBe("one\n"), WAIT);
      },
    );
    expect(end).toMatchObject({ exitCode: 130 });
  });

  it("ends with the refusal of a teepod that no longer knows the VM or the token", async () => {
    const first = await pod({ port: await freePort() });
    const running = logs(first.url, "-f");
    (await first.newest(0)).end();
    await first[Symbol.asyncDispose]();
    await using _second = await pod({ port: first.port, refuse: 404 });
    expect(await running).toMatchObject({ exitCode: 1, message: "the teepod refuses (404): no more" });
  });

  it("gives up on a teepod that stays away", async () => {
    const teepod = await pod({ port: await freePort() });
    const address = { url: teepod.url, token: undefined };
    const follow = async (): Promise<void> => {
      const signal = new AbortController().signal;
      const limits = { awayLimitMs: 300, retryEveryMs: 20 };
      const query = new URLSearchParams({ id: ID });
      for await (const chunks of followLogs({ address, query, signal, say: () => {}, ...limits }))
        for await (const _ of chunks);
    };
    const running = expect(follow()).rejects.toThrow(
      /^the teepod has been away for 0.3 s: no teepod answers at .*ECONNREFUSED/,
    );
    (await teepod.newest(0)).end();
    await teepod[Symbol.asyncDispose]();
    await running;
  });

  it("gives up on a teepod that answers and ends each connection at once, which it asks less and less", async () => {
    const teepod = await pod();
    const said: string[] = [];
    const follow = async (): Promise<void> => {
      const limits = { awayLimitMs: 400, retryEveryMs: 20, heldMs: 600_000 };
      const signal = new AbortController().signal;
      const options = {
        address: { url: teepod.url, token: undefined },
        query: new URLSearchParams(),
        signal,
      };
      const say = (text: string): void => void said.push(text);
      let n = 0;
      for await (const chunks of followLogs({ ...options, ...limits, say })) {
        (await teepod.newest(n++)).end("once more\n");
        for await (const _ of chunks);
      }
    };
    await expect(follow()).rejects.toThrow(
      "the teepod has been away for 0.4 s: it ends each connection at once",
    );
    // After 20, 40, 80 and 160 ms; 320 more is too late.
    expect(teepod.queries.length).toBeLessThanOrEqual(5);
    expect(said[2]).toBe("the connection to the teepod was lost; trying again, 0.04 s from now");
    await teepod[Symbol.asyncDispose]();
  });

  it("goes on for ever with one whose connections hold for a while", async () => {
    await using teepod = await pod();
    const stop = new AbortController();
    const limits = { awayLimitMs: 60_000, retryEveryMs: 1, heldMs: 0 };
    const options = { address: { url: teepod.url, token: undefined }, query: new URLSearchParams() };
    let n = 0;
    const all = followLogs({ ...options, ...limits, signal: stop.signal, say: () => {} });
    // With waits that double, or a limit for all of them together, it would not come this far.
    for await (const chunks of all) {
      (await teepod.newest(n++)).end();
      for await (const _ of chunks);
      if (n === 24) break;
    }
    expect(teepod.queries).toHaveLength(24);
  });
});
