import { spawn } from "node:child_process";
import { realpathSync } from "node:fs";
import { tmpdir } from "node:os";
import { describe, expect, it } from "vitest";
import { findProcesses, identifyProcess, isAlive, signalProcess } from "../src/process-identity.js";

function identity(pid: number | undefined) {
  const found = pid === undefined ? undefined : identifyProcess(pid);
  if (found === undefined) throw new Error("the process should live");
  return found;
}

describe("process identity", () => {
  it("does not take another process with the same pid for it", () => {
    const self = identity(process.pid);
    expect(isAlive(self)).toBe(true);
    expect(isAlive({ ...self, startTicks: self.startTicks + 1 })).toBe(false);
    expect(isAlive({ ...self, bootId: "another boot" })).toBe(false);
  });

  it("does not signal another process with the same pid", async () => {
    const child = spawn("sleep", ["600"]);
    const real = identity(child.pid);
    signalProcess({ ...real, startTicks: real.startTicks - 1 }, "SIGKILL");
    expect(isAlive(real)).toBe(true);
    const ended = new Promise((resolve) => child.once("exit", resolve));
    signalProcess(real, "SIGKILL");
    await ended;
    expect(isAlive(real)).toBe(false);
  });

  it("counts a zombie as ended", async () => {
    // The shell starts a child, and then becomes a program that never waits for it.
    const shell = spawn("sh", ["-c", "sleep 0 & echo $!; exec sleep 600"], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    const pid = await new Promise<number>((resolve) =>
      shell.stdout.setEncoding("utf8").once("data", (text: string) => resolve(Number(text))),
    );
    try {
      const deadline = Date.now() + 120_000;
      while (identifyProcess(pid) !== undefined && Date.now() < deadline) {
        await new Promise((resolve) => setTimeout(resolve, 10));
      }
      expect(identifyProcess(pid)).toBeUndefined();
    } finally {
      shell.kill("SIGKILL");
    }
  });

  it("finds a process by argument and working directory", () => {
    const cwd = realpathSync(tmpdir());
    const own = `of-${process.pid}`; // and not what such a test beside this one has started
    const child = spawn("sh", ["-c", "read x", `guest=${own}-id`], { cwd });
    try {
      expect(findProcesses(`guest=${own}-id`, cwd).map((p) => p.pid)).toEqual([child.pid]);
      expect(findProcesses(`guest=${own}-id`, "/")).toEqual([]);
      expect(findProcesses(`guest=${own}`, cwd)).toEqual([]);
    } finally {
      child.kill("SIGKILL");
    }
  });
});
