import { execa } from "execa";
import { readFile, readdir } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import type { OperatorSite } from "./operator-site.js";

const BOOT = fileURLToPath(new URL("boot-systemd.sh", import.meta.url));
const BOOT_LIMIT_MS = 300_000;

/** A real systemd for one site: process 1 of its own namespaces, in the site's network. */
export class SystemdHost {
  private constructor(
    readonly site: OperatorSite,
    readonly pid: number,
  ) {}

  /** @throws what systemd said when it does not come up */
  static async boot(site: OperatorSite): Promise<SystemdHost> {
    site.start("systemd", "unshare", [
      "-p",
      "-f",
      "-m",
      "-u",
      "-i",
      "-C",
      "--kill-child",
      "bash",
      BOOT,
      site.root,
    ]);
    const end = Date.now() + BOOT_LIMIT_MS;
    for (;;) {
      const pid = await findSystemd(site.namespace);
      if (pid !== undefined) {
        const host = new SystemdHost(site, pid);
        if ((await host.run("systemctl", "is-active", "basic.target")).stdout === "active") return host;
      }
      if (Date.now() > end) throw new Error(`systemd did not come up:\n${await site.log("systemd")}`);
      await new Promise((resolve) => setTimeout(resolve, 250));
    }
  }

  /** Runs a command as a process of that host; a failing one is an outcome, not an error. */
  async run(...command: string[]): Promise<{ exitCode: number | undefined; stdout: string; stderr: string }> {
    const { exitCode, stdout, stderr } = await execa(
      "nsenter",
      ["-t", String(this.pid), "-p", "-m", "-u", "-i", "-n", "-C", "-r", "-w", ...command],
      { reject: false, timeout: 300_000, stdin: "ignore" },
    );
    return { exitCode, stdout, stderr };
  }

  /** Changes lines of a unit's [Service] section. */
  async configure(unit: string, lines: readonly string[]): Promise<void> {
    const dir = `/run/systemd/system/${unit}.d`;
    const text = `[Service]\n${lines.join("\n")}\n`;
    const script = `mkdir -p "$1" && printf %s "$2" >"$1/test.conf" && systemctl daemon-reload`;
    const { exitCode, stderr } = await this.run("bash", "-c", script, "bash", dir, text);
    if (exitCode !== 0) throw new Error(`${unit}: ${stderr}`);
  }

  async property(unit: string, name: string): Promise<string> {
    return (await this.run("systemctl", "show", unit, "--value", "-p", name)).stdout;
  }

  async journal(unit: string): Promise<string> {
    return (await this.run("journalctl", "-u", unit, "-n", "40", "--no-pager")).stdout;
  }
}

/** The process that is number 1 of its namespace and belongs to the site's network. */
async function findSystemd(namespace: string): Promise<number | undefined> {
  const { stdout } = await execa("ip", ["netns", "pids", namespace]);
  for (const pid of stdout.split("\n").filter((line) => line !== "")) {
    const status = await readFile(`/proc/${pid}/status`, "utf8").catch(() => "");
    const entries = await readdir(`/proc/${pid}/root/run/systemd`).catch(() => [] as string[]);
    if (/^NSpid:\t\d+\t1$/m.test(status) && entries.includes("private")) return Number(pid);
  }
  return undefined;
}
