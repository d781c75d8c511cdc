import { execFileSync, spawnSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  cpSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";

const guest = new URL("../../../../images/guest/", import.meta.url).pathname;
const stage = (script: string): string => join(guest, "stages", script);
const env = { PATH: `${process.env["PATH"] ?? ""}:/usr/sbin:/sbin` };

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "image-"));
});
afterEach(() => rmSync(dir, { recursive: true }));

describe("the hash tree", () => {
  const salt = "ab".repeat(32);
  const tree = (file: string, algorithm: string): string =>
    execFileSync("node", [stage("verity-tree.mjs"), file, algorithm, salt], { encoding: "utf8" }).trim();

  // Two blocks, one full level, one block more than a level, three levels.
  it.each([2, 128, 129, 128 * 128 + 1])("is the one veritysetup makes, over %d blocks", (blocks) => {
    const [ours, theirs] = [join(dir, "ours"), join(dir, "theirs")];
    const size = blocks * 4096;
    writeFileSync(ours, randomBytes(size));
    copyFileSync(ours, theirs);
    const sizes = ["--data-block-size=4096", "--hash-block-size=4096", `--data-blocks=${blocks}`];
    const output = execFileSync(
      "veritysetup",
      [
        "format",
        "--no-superblock",
        "--hash=sha256",
        `--salt=${salt}`,
        ...sizes,
        `--hash-offset=${size}`,
        theirs,
        theirs,
      ],
      { encoding: "utf8", env },
    );
    expect(tree(ours, "sha256")).toBe(/Root hash:\s*([0-9a-f]{64})/.exec(output)?.[1]);
    expect(readFileSync(ours).equals(readFileSync(theirs))).toBe(true);
  });

  it("can be made of BLAKE2b-256, and differs with one bit of the data", () => {
    const file = join(dir, "data");
    writeFileSync(file, Buffer.alloc(3 * 4096));
    const first = tree(file, "blake2b-256");
    expect(first).toMatch(/^[0-9a-f]{64}$/);
    writeFileSync(file, Buffer.alloc(3 * 4096).fill(1, 5000, 5001));
    expect(tree(file, "blake2b-256")).not.toBe(first);
  });
});

describe("check-production.sh", () => {
  const check = (): { status: number | null; stderr: string } =>
    spawnSync(stage("check-production.sh"), [dir], { encoding: "utf8", env });
  const put = (path: string, content = "", mode = 0o644): void => {
    mkdirSync(dirname(join(dir, path)), { recursive: true });
    writeFileSync(join(dir, path), content);
    chmodSync(join(dir, path), mode);
  };

  beforeEach(() => {
    for (const name of ["node", "busybox", "dash", "docker"]) put(`usr/bin/${name}`, "", 0o755);
    put("usr/sbin/dockerd", "", 0o755);
    cpSync(join(guest, "files"), dir, { recursive: true });
    put("usr/lib/systemd/system/multi-user.target");
    put(
      "usr/lib/systemd/system/dstack-boot.service.d/production.conf",
      "[Unit]\nFailureAction=poweroff-force\n",
    );
    put("etc/passwd", "root:x:0:0:root:/root:/usr/sbin/nologin\n");
    put("etc/shadow", "root:*:1:0:99999:7:::\n");
    symlinkSync("usr/bin", join(dir, "bin"));
  });

  it("takes a root like the production flavour's", () => {
    expect(check()).toMatchObject({ status: 0, stderr: "" });
  });

  it.each([
    ["an SSH server", "usr/sbin/sshd"],
    ["an SSH server in a place of its own", "usr/lib/openssh/sshd-session"],
    ["a login program", "usr/bin/login"],
    ["a getty", "usr/sbin/agetty"],
    ["a debug shell", "usr/lib/systemd/system/debug-shell.service"],
    ["a rescue shell", "usr/lib/systemd/system/rescue.service"],
    ["a unit nobody listed", "etc/systemd/system/extra.service"],
    ["the console login of the development flavour", "usr/lib/systemd/system/dev-console.service"],
    ["QEMU's guest agent", "usr/sbin/qemu-ga"],
    ["a package manager", "usr/bin/dpkg"],
    ["an interpreter", "usr/libexec/python3"],
    ["the simulated platform", "usr/lib/dstack/simulator.cjs"],
    ["a program nobody listed", "usr/local/bin/helper"],
    ["SSH keys", "root/.ssh/authorized_keys"],
    ["a generator of units", "usr/lib/systemd/system-generators/evil"],
  ])("G6: refuses %s", (_what, path) => {
    put(path, "", 0o755);
    const { status, stderr } = check();
    expect(status).toBe(1);
    expect(stderr).toContain("production image: ");
  });

  it.each([
    ["an account with a password", "etc/shadow", "root:$y$abc:1:::::\n"],
    ["an account without a password", "etc/shadow", "root::1:::::\n"],
    ["an account with a shell", "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"],
    ["a boot that fails and stays", "usr/lib/systemd/system/dstack-boot.service.d/production.conf", ""],
  ])("G6: refuses %s", (_what, path, content) => {
    put(path, content);
    expect(check().status).toBe(1);
  });

  it("G6: refuses a program that raises privileges", () => {
    put("usr/bin/busybox", "", 0o4755);
    expect(check().stderr).toContain("setuid");
  });
});

describe("the flavours", () => {
  const packages = (name: string): string[] =>
    readFileSync(join(guest, name), "utf8")
      .split("\n")
      .filter((line) => line !== "" && !line.startsWith("#"));

  it("G6: ssh, login and tools are packages of the development flavour only", () => {
    for (const name of ["openssh-server", "login", "bash", "strace", "tcpdump", "curl"]) {
      expect(packages("packages-dev.list")).toContain(name);
      expect(packages("packages.list")).not.toContain(name);
    }
  });

  it("the lock file names each package once, with version and hash", () => {
    const lines = packages("packages.lock");
    for (const line of lines) expect(line).toMatch(/^\S+ \S+ [0-9a-f]{64}( dev)?$/);
    expect(new Set(lines.map((line) => line.split(" ")[0])).size).toBe(lines.length);
  });
});
