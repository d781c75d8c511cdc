import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it, onTestFinished } from "vitest";

const program = fileURLToPath(new URL("fixtures/daemon.ts", import.meta.url));

/** Runs the fixture; sends each signal when the line before it has been written. */
async function run(mode: string, signals: { after: string; send: NodeJS.Signals }[]) {
  const child = spawn(process.execPath, ["--import", "tsx", program, mode], {
    stdio: ["ignore", "pipe", "pipe"],
  });
  const waiting = [...signals];
  let stdout = "";
  let stderr = "";
  child.stdout.on("data", (chunk: Buffer) => {
    stdout += chunk.toString();
    while (waiting[0] !== undefined && stdout.includes(waiting[0].after)) child.kill(waiting.shift()?.send);
  });
  child.stderr.on("data", (chunk: Buffer) => (stderr += chunk.toString()));
  const [code] = (await once(child, "close")) as [number | null];
  return { code, stdout, stderr };
}

describe("runDaemon", () => {
  it.each(["SIGTERM", "SIGINT"] as const)("releases everything on %s and exits with 0", async (send) => {
    const { code, stdout } = await run("good", [{ after: "started", send }]);
    expect(stdout).toContain("released");
    expect(code).toBe(0);
  });

  it("says in one sentence what an operator did wrong and exits with 1", async () => {
    const { code, stdout, stderr } = await run("misconfigured", []);
    expect(code).toBe(1);
    expect(stderr).toBe('fixture: kms.toml: unknown key "prot"\n');
    expect(stdout).not.toContain("    at ");
  });

  it("logs the stack of an unexpected failure to start and exits with 1", async () => {
    const { code, stdout, stderr } = await run("broken", []);
    expect(code).toBe(1);
    expect(stderr).toBe("fixture: no such thing\n");
    expect(stdout).toContain("fixtures/daemon.ts");
  });

  it("exits with 1 when a release fails", async () => {
    const { code, stdout } = await run("release-fails", [{ after: "started", send: "SIGTERM" }]);
    expect(code).toBe(1);
    expect(stdout).toContain("could not stop cleanly");
  });

  it("exits at once on a second signal", async () => {
    const { code } = await run("release-hangs", [
      { after: "started", send: "SIGTERM" },
      { after: "releasing", send: "SIGTERM" },
    ]);
    expect(code).toBe(1);
  });

  it.each([
    ["says why what it read again is not in use", "reloads", "the new one is broken"],
    ["goes on when reading again fails", "reload-fails", "disk is gone"],
    ["goes on where nothing is read again", "good", "restart it"],
  ])("on SIGHUP %s", async (_, mode, sentence) => {
    const { code, stdout } = await run(mode, [
      { after: "started", send: "SIGHUP" },
      { after: sentence, send: "SIGTERM" },
    ]);
    expect(code).toBe(0);
    expect(stdout).toContain("released");
  });

  it("tells each SIGHUP's result", async () => {
    const { code, stdout } = await run("reloads", [
      { after: "started", send: "SIGHUP" },
      { after: "is not in use", send: "SIGHUP" },
      { after: '"reloaded"', send: "SIGTERM" },
    ]);
    expect(code).toBe(0);
    expect(stdout).toContain("released");
  });

  it("stops in order when its terminal is gone", async () => {
    const dir = await mkdtemp(join(tmpdir(), "run-daemon-"));
    onTestFinished(() => rm(dir, { recursive: true, force: true }));
    const [log, node] = [join(dir, "log"), `${process.execPath} --import tsx ${program} quiet`];
    // script(1) is the terminal; the daemon's output goes to a file that stays.
    const terminal = spawn("script", ["-qec", `${node} >${log} 2>&1`, "/dev/null"], { stdio: "ignore" });
    const said = (): Promise<string> => readFile(log, "utf8").catch(() => "");
    await expect.poll(said).toContain("started");
    terminal.kill("SIGKILL");
    await expect.poll(said).toContain("released");
    expect(await said()).toContain('"signal":"SIGHUP"');
  });

  it("aborts a start that is under way", async () => {
    const { code, stderr } = await run("start-hangs", [{ after: "starting", send: "SIGTERM" }]);
    expect(code).toBe(0);
    expect(stderr).toBe("");
  });

  it.each([
    ["the reader of its log is gone", "exec node --import tsx $0 quiet | true"],
    ["the disk under its log is full", "exec node --import tsx $0 quiet >/dev/full"],
  ])("stops when %s", async (_, command) => {
    const shell = spawn("sh", ["-c", command, program], {
      stdio: ["ignore", "ignore", "pipe"],
      detached: true,
    });
    const { pid } = shell;
    if (pid === undefined) throw new Error("no shell");
    const closed = once(shell, "close");
    onTestFinished(() => {
      if (shell.exitCode === null && shell.signalCode === null) process.kill(-pid, "SIGKILL");
    });
    let stderr = "";
    shell.stderr.on("data", (chunk: Buffer) => {
      stderr += chunk.toString();
      if (stderr === "started\n") process.kill(-pid, "SIGTERM");
    });
    await closed;
    expect(stderr).toBe("started\nreleasing\nreleased\n");
  });

  it("does not go on after an error nobody caught", async () => {
    const { code, stdout } = await run("uncaught", []);
    expect(code).toBe(1);
    expect(stdout).toContain("nobody caught this");
  });
});
