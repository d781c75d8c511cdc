import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { createLogger } from "../src/index.js";
import { ServiceManager } from "../src/service-manager.js";

/** Prints every datagram of a socket in the file system as a line; Node itself has no such sockets. */
const RECEIVER = `use Socket; $| = 1; socket(S, PF_UNIX, SOCK_DGRAM, 0); bind(S, sockaddr_un($ARGV[0])) or die $!;
print "listening\\n"; while (defined recv(S, $m, 4096, 0)) { $m =~ s/\\n/ /g; print "$m\\n" }`;

describe("what systemd is told (sd_notify)", () => {
  let dir: string;
  let receiver: ReturnType<typeof spawn>;
  let lines: AsyncIterator<string>;
  const log = createLogger({ name: "test", destination: { write: () => {} } });

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "notify-"));
    receiver = spawn("perl", ["-e", RECEIVER, join(dir, "socket")], { stdio: ["ignore", "pipe", "inherit"] });
    if (receiver.stdout === null) throw new Error("no output");
    lines = createInterface({ input: receiver.stdout })[Symbol.asyncIterator]();
    expect((await lines.next()).value).toBe("listening");
  });
  afterEach(async () => {
    receiver.kill();
    await once(receiver, "exit");
    await rm(dir, { recursive: true });
  });

  /** The next state, without what newer versions of systemd-notify add to it. */
  const next = async (): Promise<string> => {
    for (;;) {
      const { value } = (await lines.next()) as { value: string };
      const state = /\b(READY|WATCHDOG|STOPPING)=1\b/.exec(value)?.[0];
      if (state !== undefined) return state;
    }
  };
  const environment = (more: Record<string, string> = {}): NodeJS.ProcessEnv => ({
    NOTIFY_SOCKET: join(dir, "socket"),
    ...more,
  });

  it("is that the service is ready, alive, and going down, in this order", async () => {
    const env = environment({ WATCHDOG_USEC: "100000", WATCHDOG_PID: "7" });
    const manager = new ServiceManager(log, env, 7);
    expect(env).toEqual({});
    await manager.ready();
    expect([await next(), await next(), await next()]).toEqual(["READY=1", "WATCHDOG=1", "WATCHDOG=1"]);
    await manager.stopping();
    let state = await next();
    while (state === "WATCHDOG=1") state = await next();
    expect(state).toBe("STOPPING=1");
  });

  it("is no sign of life where the watchdog waits for another process", async () => {
    const manager = new ServiceManager(log, environment({ WATCHDOG_USEC: "1000", WATCHDOG_PID: "8" }), 7);
    // Saying it twice takes longer than many beats would.
    await manager.ready();
    await manager.ready();
    await manager.stopping();
    expect([await next(), await next(), await next()]).toEqual(["READY=1", "READY=1", "STOPPING=1"]);
  });
});

it("a process that no service manager started tells nobody", async () => {
  const log = createLogger({ name: "test", destination: { write: (line) => expect.fail(line) } });
  const manager = new ServiceManager(log, {}, 7);
  await manager.ready();
  await manager.stopping();
});
