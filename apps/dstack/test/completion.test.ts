import { execa } from "execa";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { SHELLS, completionScript } from "../src/completion.js";
import { createProgram } from "../src/program.js";

const VMS = JSON.stringify(
  [
    { id: "1", name: "web" },
    { id: "2", name: "$(touch /tmp/pwned)" },
    { id: "3", name: "web-2" },
  ],
  null,
  2,
);

const HOSTS = JSON.stringify([{ name: "berlin", url: "https://x" }], null, 2);

/** What bash offers for the last word. */
async function offers(...line: string[]): Promise<string[]> {
  const script = `${completionScript(createProgram(), "bash")}
dstack() { [ "$DSTACK_TIMEOUT" = 2 ] || return; if [ "$1" = host ]; then printf '%s\\n' "$HOSTS"; else printf '%s\\n' "$VMS"; fi; }
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_dstack
printf '%s\\n' "\${COMPREPLY[@]}"`;
  const { stdout } = await execa("bash", ["-c", script, "bash", ...line], { env: { VMS, HOSTS } });
  return stdout.split("\n").filter((word) => word !== "");
}

describe("completion", () => {
  it("offers commands, options and CVMs in bash", async () => {
    expect(await offers("dstack", "de")).toEqual(["deploy"]);
    expect(await offers("dstack", "--json", "do")).toEqual(["down", "doctor"]);
    expect(await offers("dstack", "deploy", "--pu")).toEqual([
      "--public-logs",
      "--public-sysinfo",
      "--public-tcbinfo",
    ]);
    expect(await offers("dstack", "deploy", "x.yaml", "--wa")).toEqual(["--wait"]);
    // An option that only says no has no value.
    expect(await offers("dstack", "up", "--no-example", "--js")).toEqual(["--json"]);
    expect(await offers("dstack", "completion", "")).toEqual(expect.arrayContaining(["bash", "zsh", "fish"]));
  });

  it("offers names of CVMs, and never what a shell would run", async () => {
    expect(await offers("dstack", "logs", "w")).toEqual(["web", "web-2"]);
    expect((await offers("dstack", "stop", "")).filter((word) => !word.startsWith("-"))).toEqual([
      "web",
      "web-2",
    ]);
  });

  it("offers the commands below a command, and their options", async () => {
    expect(await offers("dstack", "env", "")).toEqual(
      expect.arrayContaining(["list", "set", "unset", "push"]),
    );
    expect(await offers("dstack", "env", "set", "--env")).toEqual(["--env-file"]);
    expect(await offers("dstack", "env", "set", "w")).toEqual(["web", "web-2"]);
    expect(await offers("dstack", "audit", "verify", "--kind", "t")).toEqual(["teepod", "tproxy"]);
  });

  it("offers names of hosts, and takes the value of an option for no command", async () => {
    expect(await offers("dstack", "ls", "--host", "")).toEqual(["berlin"]);
    expect(await offers("dstack", "host", "rm", "b")).toEqual(["berlin"]);
    expect(await offers("dstack", "--host", "berlin", "lo")).toEqual(["logs"]);
    // After an option that wants a file there is nothing of ours: the shell completes files.
    expect(await offers("dstack", "deploy", "--env-file", "")).toEqual([]);
  });

  it.each(SHELLS)("is a script that %s takes", async (shell) => {
    const dir = await mkdtemp(join(tmpdir(), "dstack-completion-"));
    try {
      const file = join(dir, "script");
      await writeFile(file, completionScript(createProgram(), shell));
      const { all, exitCode } = await execa(shell, ["-n", file], { all: true, reject: false });
      expect([exitCode, all]).toEqual([0, ""]);
      await writeFile(file, "if then (");
      expect((await execa(shell, ["-n", file], { reject: false })).exitCode).not.toBe(0);
    } finally {
      await rm(dir, { recursive: true });
    }
  });

  it("offers commands, options and CVMs in fish", async () => {
    // A home of its own: fish writes into it.
    const home = await mkdtemp(join(tmpdir(), "dstack-completion-"));
    onTestFinished(() => rm(home, { recursive: true }));
    const fish = async (line: string): Promise<string[]> => {
      const script = `function dstack; test "$DSTACK_TIMEOUT" = 2; and printf '%s\\n' $VMS; end
${completionScript(createProgram(), "fish")}
complete -C ${JSON.stringify(line)}`;
      const env = { VMS, HOME: home, XDG_CONFIG_HOME: home, XDG_DATA_HOME: home };
      const { stdout } = await execa("fish", ["--no-config", "-c", script], { env });
      return stdout.split("\n").map((offer) => offer.split("\t")[0] ?? "");
    };
    expect(await fish("dstack de")).toEqual(["deploy"]);
    expect(await fish("dstack deploy x.yaml --wa")).toEqual(["--wait"]);
    expect(await fish("dstack logs we")).toEqual(["web", "web-2"]);
  });

  it("gives a teepod that says nothing two seconds in zsh, too", async () => {
    const script = `compdef() { : }; compadd() { print -rl -- "$@" }; _files() { : }
dstack() { [ "$DSTACK_TIMEOUT" = 2 ] && printf '%s\\n' "$VMS" }
${completionScript(createProgram(), "zsh")}
words=(dstack logs ''); CURRENT=3; _dstack`;
    const { stdout } = await execa("zsh", ["-f", "-c", script], { env: { VMS } });
    expect(stdout.split("\n")).toEqual(expect.arrayContaining(["web", "web-2"]));
  });

  it.each(SHELLS)("names every command for %s", (shell) => {
    const script = completionScript(createProgram(), shell);
    for (const { name } of [{ name: "deploy" }, { name: "verify" }, { name: "completion" }, { name: "help" }])
      expect(script).toContain(name);
    expect(script).not.toContain("simulated-pcs");
  });
});
