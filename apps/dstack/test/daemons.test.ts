import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { identifyProcess } from "@dstack/daemon";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { isRunning, startDaemon, stopDaemon } from "../src/local/daemons.js";
import { Home } from "../src/local/home.js";

const signal = new AbortController().signal;
let dir: string;
let home: Home;

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "dstack-home-"));
  home = await Home.open(dir);
});
afterEach(async () => {
  await stopDaemon(home, "kms", 100);
  await rm(dir, { recursive: true, force: true });
});

const sleeper = { name: "kms" as const, command: ["sleep", "60"], ready: async () => {} };

describe("background daemons", () => {
  it("starts one once, remembers it on disk, and ends it", async () => {
    expect(await startDaemon(home, sleeper, signal)).toBe("started");
    const reopened = await Home.openIfAny(dir);
    expect(reopened?.state.daemons.kms).toEqual(home.state.daemons.kms);
    if (reopened === undefined) throw new Error("no state");
    expect(await startDaemon(reopened, sleeper, signal)).toBe("running");
    const pid = home.state.daemons.kms?.pid ?? 0;
    expect(await stopDaemon(home, "kms")).toBe(true);
    expect(identifyProcess(pid)).toBeUndefined();
    expect((await Home.openIfAny(dir))?.state.daemons).toEqual({});
  });

  it("takes a recycled pid for another process", async () => {
    const other = spawn("sleep", ["60"]);
    await once(other, "spawn");
    try {
      const real = identifyProcess(other.pid ?? 0);
      if (real === undefined) throw new Error("the process should live");
      await home.update({ daemons: { kms: { ...real, startTicks: 1 } } });
      expect(isRunning(home, "kms")).toBe(false);
      expect(await stopDaemon(home, "kms")).toBe(false);
      expect(identifyProcess(real.pid)).toBeDefined();
    } finally {
      other.kill("SIGKILL");
    }
  });

  it("tells the end of the log when one ends while starting", async () => {
    const spec = {
      name: "kms" as const,
      command: ["sh", "-c", "echo no root key here; exit 1"],
      ready: async () => {
        throw new Error("connection refused");
      },
    };
    await expect(startDaemon(home, spec, signal)).rejects.toThrow(/kms ended.*no root key here/s);
  });

  it("ends one that ignores SIGTERM", async () => {
    const spec = {
      ...sleeper,
      command: ["sh", "-c", "trap '' TERM; echo armed; while :; do sleep 1; done"],
      ready: async () => {
        if (!(await readFile(join(dir, "logs", "kms.log"), "utf8")).includes("armed"))
          throw new Error("not yet");
      },
    };
    await startDaemon(home, spec, signal);
    const pid = home.state.daemons.kms?.pid ?? 0;
    expect(await stopDaemon(home, "kms", 200)).toBe(true);
    expect(identifyProcess(pid)).toBeUndefined();
  });

  it("says what to do about a damaged state file", async () => {
    await writeFile(join(dir, "state.json"), "{");
    await expect(Home.open(dir)).rejects.toThrow("move it away and run `dstack up` again");
  });
});
