import { chmod, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { examine } from "../src/commands/doctor.js";
import { withoutTime } from "../src/local/guest-image.js";
import { Home } from "../src/local/home.js";
import { checkoutDir, cliFor } from "../src/local/programs.js";
import { dstack } from "./fake-teepod.js";

afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

describe("what a person types next", () => {
  const script = join(checkoutDir(), "scripts", "dstack");

  it("names the installation only where it is not the one that is found anyway", () => {
    vi.spyOn(process, "cwd").mockReturnValue("/srv/elsewhere");
    vi.stubEnv("DSTACK_HOME", undefined);
    vi.stubEnv("SUDO_UID", undefined);
    expect(cliFor({ dir: join(homedir(), ".dstack") })).toBe(script);
    expect(cliFor({ dir: "/srv/dstack" })).toBe(`${script} --home /srv/dstack`);
    vi.stubEnv("DSTACK_HOME", "/srv/dstack");
    expect(cliFor({ dir: "/srv/dstack" })).toBe(script);
  });

  it("is relative inside the checkout", () => {
    vi.spyOn(process, "cwd").mockReturnValue(checkoutDir());
    expect(cliFor({ dir: Home.locate() })).toBe("./scripts/dstack");
  });

  it("begins with sudo for an installation that is root's", () => {
    vi.spyOn(process, "cwd").mockReturnValue("/srv/elsewhere");
    vi.stubEnv("SUDO_UID", "1000");
    expect(cliFor({ dir: "/home/ann/.dstack" })).toBe(`sudo ${script} --home /home/ann/.dstack`);
  });
});

it("shows the steps of an image build without the build's own times", () => {
  expect(withoutTime("[  12s] kernel modules")).toBe("kernel modules");
  expect(withoutTime("E: [x] failed")).toBe("E: [x] failed");
});

it("dstack doctor names the package of a program that is missing", async () => {
  const dir = await mkdtemp(join(tmpdir(), "dstack-path-"));
  onTestFinished(() => rm(dir, { recursive: true }));
  await writeFile(join(dir, "cc"), "");
  await chmod(join(dir, "cc"), 0o755);
  vi.stubEnv("PATH", dir);
  const found = new Map((await examine(dir)).map((finding) => [finding.what, finding]));
  expect(found.get("cc")).toMatchObject({ ok: true });
  expect(found.get("qemu-system-x86_64")).toMatchObject({
    ok: false,
    detail: expect.stringContaining("sudo apt-get install qemu-system-x86") as string,
  });
  const home = join(dir, "home");
  await expect(dstack("up", "--home", home)).rejects.toThrow("qemu-system-x86_64: sudo apt-get install");
  expect(await readdir(dir), "up makes nothing before all is there").toEqual(["cc"]);
});
