import { execa } from "execa";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { CliError, causeOf, printable } from "../src/output.js";
import { createProgram } from "../src/program.js";

const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));

/** Runs the command line as a process of its own. */
async function dstack(...args: string[]) {
  const { exitCode, stdout, stderr } = await execa(process.execPath, ["--import", "tsx", main, ...args], {
    reject: false,
    env: { DSTACK_HOME: "/nonexistent" },
  });
  return { exitCode, stdout, stderr };
}

describe("the command line", () => {
  it.each([
    [["ls", "--bogus"], "error: unknown option '--bogus'\nSee `dstack ls --help`.\n"],
    [["depoly"], "error: unknown command 'depoly'\n(Did you mean deploy?)\nSee `dstack --help`.\n"],
    [["logs"], "error: missing required argument 'vm'\nSee `dstack logs --help`.\n"],
  ])(
    "points to the help of the command after wrong usage, instead of printing it: %j",
    async (args, told) => {
      const program = createProgram();
      let stderr = "";
      for (const command of [program, ...program.commands])
        command.configureOutput({ writeErr: (text) => (stderr += text) });
      await expect(program.parseAsync(args, { from: "user" })).rejects.toMatchObject({ exitCode: 1 });
      expect(stderr).toBe(told);
    },
  );

  it("tells failures in one sentence on stderr", async () => {
    expect(await dstack("ls", "--json")).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: "dstack: no teepod is known: give --host <url or name>, or run `dstack up` to start one here",
    });
  });

  it("ends quietly when nobody reads its output any more", async () => {
    const child = execa(process.execPath, ["--import", "tsx", main, "--help"], { reject: false });
    child.stdout.destroy();
    expect(await child).toMatchObject({ exitCode: 0, stderr: "" });
  });

  it("shows the options of all commands in the help of each", () => {
    for (const command of createProgram().commands) {
      const help = command.helpInformation();
      expect(help).toContain("--json");
      expect(help).toContain("--home <dir>");
    }
  });
});

it("tells an interrupted child process from a failed one", async () => {
  const signal = AbortSignal.abort(new CliError("interrupted", 130));
  const [err] = (await once(spawn("sleep", ["60"], { signal }), "error")) as [unknown];
  expect(causeOf(err)).toMatchObject({ message: "interrupted", exitCode: 130 });
});

describe("text from a guest", () => {
  it("has plain line ends and no control characters", () => {
    expect(printable("ready\r\r\nlogin: \u001b[31mroot\u0007")).toBe("ready\nlogin: \\x1b[31mroot\\x07");
  });
});
