import { chmod, mkdir, mkdtemp, readFile, readdir, rm, writeFile } from "node:fs/promises";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { bareLaunch } from "@dstack/tdx-attest";
import { parse } from "smol-toml";
import { examine } from "../src/commands/doctor.js";
import { writeConfigs } from "../src/local/config-files.js";
import { withoutTime } from "../src/local/guest-image.js";
import { Home } from "../src/local/home.js";
import { choosePorts } from "../src/local/ports.js";
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

describe("dstack down", () => {
  /** An installation, and in place of the checkout one whose tproxy does what the script says. */
  async function installation(tproxy: string): Promise<Home> {
    const dir = await mkdtemp(join(tmpdir(), "dstack-home-"));
    onTestFinished(() => rm(dir, { recursive: true, force: true }));
    const programs = join(dir, "apps", "tproxy", "dist");
    await mkdir(programs, { recursive: true });
    await writeFile(join(programs, "tproxy.mjs"), tproxy);
    vi.spyOn(process, "argv", "get").mockReturnValue([
      process.execPath,
      join(dir, "apps", "dstack", "dist", "dstack.mjs"),
    ]);
    const home = await Home.open(join(dir, "home"));
    await home.update({});
    return home;
  }

  it("has tproxy remove the interface that it leaves when it ends", async () => {
    const home = await installation(
      `import { writeFileSync } from "node:fs"; writeFileSync("asked", process.argv.slice(2).join(" "));`,
    );
    const asked = (): Promise<string> => readFile(home.path("asked"), "utf8");
    await dstack("--home", home.dir, "down");
    await expect(asked()).rejects.toThrow("ENOENT"); // nothing was set up that could have made one
    await writeFile(home.path("tproxy.toml"), "");
    await dstack("--home", home.dir, "down");
    expect(await asked()).toBe(`down -c ${home.path("tproxy.toml")}`);
  });

  it("says what tproxy says where the interface stays, and deletes nothing then", async () => {
    const home = await installation(`console.error("tproxy: not yours"); process.exitCode = 1;`);
    await writeFile(home.path("tproxy.toml"), "");
    await expect(dstack("--home", home.dir, "down", "--purge")).rejects.toThrow(/not removed: .*not yours/);
    expect(await readdir(home.dir)).toContain("tproxy.toml");
  });
});

it("P7: configures tproxy with a listener for operators, on loopback, with a token of its own", async () => {
  const dir = await mkdtemp(join(tmpdir(), "dstack-home-"));
  onTestFinished(() => rm(dir, { recursive: true }));
  const home = await Home.open(dir);
  await home.update({ ports: await choosePorts() });
  const launch = bareLaunch("a test's image");
  const image = { imagesDir: dir, image: "dstack-dev-0.1.0", launch };
  await writeConfigs({ home, ...image, wireguardInterface: "dstack-test" });
  expect(parse(await readFile(home.path("tproxy.toml"), "utf8"))).toMatchObject({
    admin: {
      host: "127.0.0.1",
      port: home.ports.tproxyAdmin,
      tokens: [{ name: "operator", token_file: home.path("tproxy.token") }],
    },
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
