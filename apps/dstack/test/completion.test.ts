import { execa } from "execa";
import { describe, expect, it } from "vitest";
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
dstack() { if [ "$1" = host ]; then printf '%s\\n' "$HOSTS"; else printf '%s\\n' "$VMS"; fi; }
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

  it.each(SHELLS)("names every command for %s", (shell) => {
    const script = completionScript(createProgram(), shell);
    for (const { name } of [{ name: "deploy" }, { name: "verify" }, { name: "completion" }, { name: "help" }])
      expect(script).toContain(name);
    expect(script).not.toContain("simulated-pcs");
  });
});
