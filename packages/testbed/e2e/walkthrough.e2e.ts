import { copyFile, mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { OperatorSite, checkout } from "./operator-site.js";
import { SystemdHost } from "./systemd-host.js";

const BUILD = join(checkout, "scripts", "build.sh");
const DOMAIN = "app.example.com";
const INTERFACE = `tp-site-${process.pid}`.slice(0, 15);

const KMS = "dstack-kms.service";
const TEEPOD = "dstack-teepod.service";
const UNITS = [KMS, "dstack-tproxy.service", TEEPOD];

if (process.getuid?.() !== 0)
  console.log("not root: the operator's walkthrough needs it for WireGuard and network namespaces");

/** What an operator does by the first release's document, line by line; docs/compatibility.md names each line's test. */
describe.runIf(process.getuid?.() === 0)("the operator's walkthrough, from build.sh on", () => {
  let site: OperatorSite;
  let systemd: SystemdHost;
  let appId: string;
  let vm: string;
  const teepod: Record<string, string> = { DSTACK_TEEPOD_URL: "http://127.0.0.1:9080" };

  beforeAll(async () => {
    site = await OperatorSite.create();
  });
  afterAll(async () => {
    await site.destroy();
  });

  it("build.sh writes build-config.sh first, and names settings that are missing later", async () => {
    const first = await site.run(BUILD);
    expect(first.stdout).toBe(
      "Config file ../build-config.sh created, please edit it to configure the build",
    );
    await site.configure({
      TPROXY_PUBLIC_DOMAIN: DOMAIN,
      TPROXY_WG_INTERFACE: INTERFACE,
      DOCKER_REGISTRY: "http://10.0.2.2:9050",
      SIMULATED_TDX: "yes",
    });
    const config = join(site.root, "build-config.sh");
    const whole = await readFile(config, "utf8");
    await writeFile(config, whole.replace(/^KMS_RPC_LISTEN_PORT=.*\n/m, ""));
    const missing = await site.run(BUILD);
    expect(missing.exitCode).toBe(2);
    expect(missing.stderr).toContain("KMS_RPC_LISTEN_PORT=9043");
    await writeFile(config, whole);
  });

  it("build.sh leaves certificates, image, configurations, programs and the WireGuard interface", async () => {
    // What the image is built from is there already; the flavour's image itself is made here.
    const built = await site.run(BUILD, [], { timeoutMs: 1_200_000 });
    expect(built, built.stderr).toMatchObject({ exitCode: 0 });
    for (const file of ["certs", "images", "kms", "kms.toml", "run", "teepod", "teepod.toml", "tproxy"])
      expect(await readdir(site.path())).toContain(file);
    // sudo gives its own PATH.
    const version = await site.run("env", ["PATH=/nonexistent", "./tproxy", "--version"]);
    expect(version, version.stderr).toMatchObject({ exitCode: 0 });
    const address = await site.run("ip", ["-br", "address", "show", "dev", INTERFACE]);
    expect(address.stdout).toContain("10.0.3.1/24");
  });

  it("a second run keeps keys and certificates", async () => {
    const read = (): Promise<string[]> =>
      Promise.all(
        ["root-ca.key", "tproxy.pem", "teepod.token"].map((f) => readFile(site.path("certs", f), "utf8")),
      );
    const before = await read();
    const again = await site.run(BUILD, [], { timeoutMs: 1_200_000 });
    expect(again, again.stderr).toMatchObject({ exitCode: 0 });
    expect(await read()).toEqual(before);
  });

  it("kms, tproxy and teepod run as three programs, tproxy takes the interface and leaves it, Ctrl-C ends each in order", async () => {
    site.start("kms", "./kms");
    site.start("tproxy", "./tproxy");
    site.start("teepod", "./teepod");
    await healthy(site);
    const wireguard = await site.run("wg", ["show", INTERFACE]);
    expect(wireguard.stdout).toContain("listening port: 9182");
    expect(await site.stop()).toEqual([0, 0, 0]);
    const links = async (): Promise<string> => (await site.run("ip", ["-br", "link"])).stdout;
    expect(await links()).toContain(INTERFACE);
    const down = await site.run("./tproxy", ["down"]);
    expect(down, down.stderr).toMatchObject({ exitCode: 0 });
    expect(await links()).not.toContain(INTERFACE);
  });

  it("systemd runs them in their sandboxes, and starts one anew that hangs", async () => {
    site.start("simulated-pcs", "./simulated-pcs");
    systemd = await SystemdHost.boot(site);
    for (const unit of UNITS) {
      await systemd.run("systemctl", "link", site.path("systemd", unit));
      // This installation lies in /tmp, which the sandbox would hide; what stands in the unit takes a minute.
      await systemd.configure(unit, ["PrivateTmp=no", "WatchdogSec=30"]);
    }
    const started = await systemd.run("systemctl", "start", ...UNITS);
    expect(
      started.exitCode,
      `${started.stderr}\n${(await Promise.all(UNITS.map((u) => systemd.journal(u)))).join("\n")}`,
    ).toBe(0);
    await healthy(site);
    for (const unit of UNITS) expect(await systemd.property(unit, "NotifyAccess")).toBe("all");

    // A process that is stopped ends only because somebody missed its signs of life.
    await systemd.run("systemctl", "kill", "--signal=STOP", "--kill-whom=main", KMS);
    await until(
      "systemd starts the KMS anew",
      300_000,
      async () => (await systemd.property(KMS, "NRestarts")) !== "0",
    );
    await healthy(site);
  });

  it("a compose file is deployed, and answers at <app_id>.<base_domain>", async () => {
    const digest = await serveExampleImage(site);
    await site.run("ssh-keygen", ["-q", "-t", "ed25519", "-N", "", "-f", site.path("id")]);
    await copyFile(site.path("id.pub"), site.path("certs", "authorized_keys"));
    const source = await readFile(join(checkout, "examples", "hello", "docker-compose.yaml"), "utf8");
    await writeFile(site.path("docker-compose.yaml"), source.replace("hello:latest", `hello@${digest}`));
    teepod["DSTACK_TEEPOD_TOKEN"] = (await readFile(site.path("certs", "teepod.token"), "utf8")).trim();
    const deployed = await site.run(
      "./dstack",
      [
        "--json",
        "deploy",
        "docker-compose.yaml",
        "--name",
        "hello",
        "--vcpu",
        "2",
        "--disk",
        "4",
        "--wait",
        "--timeout",
        "900",
      ],
      { timeoutMs: 960_000, env: teepod },
    );
    expect(deployed, deployed.stderr).toMatchObject({ exitCode: 0 });
    ({ id: vm, app_id: appId } = JSON.parse(deployed.stdout) as { id: string; app_id: string });
    const page = await site.run("curl", [
      ...["-sS", "--fail", "--cacert", "certs/proxy/ca.pem"],
      ...["--resolve", `${appId}.${DOMAIN}:9443:127.0.0.1`, `https://${appId}.${DOMAIN}:9443/`],
    ]);
    expect(page.stdout, page.stderr).toContain("hello from the CVM");
  });

  it("G6: ssh opens a development image by the address in tproxy's list, to keys in certs/authorized_keys alone", async () => {
    const admin = ["--admin", "http://127.0.0.1:9071", "--token-file", "certs/tproxy.token"];
    const { stdout } = await site.run("./dstack", ["--json", "proxy", "ls", ...admin]);
    const { instances } = JSON.parse(stdout) as { instances: { app_id: string; ip: string }[] };
    const ip = instances.find((instance) => instance.app_id === appId)?.ip ?? "";
    const ssh = (...key: string[]) =>
      site.run("ssh", [
        ...["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"],
        ...["-o", "ConnectTimeout=60", "-F", "none", ...key, `root@${ip}`, "docker ps --format '{{.Names}}'"],
      ]);
    // The server makes its keys after the boot is done.
    let names = await ssh("-i", "id");
    await until("sshd answers", 300_000, async () => {
      if (names.exitCode !== 0) names = await ssh("-i", "id");
      return names.exitCode === 0;
    });
    expect(names.stdout, names.stderr).toBe("hello-hello-1");
    const stranger = await ssh("-o", "IdentityFile=none", "-o", "IdentityAgent=none");
    expect(stranger).toMatchObject({ exitCode: 255, stderr: expect.stringContaining("Permission denied") });
  });

  it("teepod is restarted by systemd, and its VM runs on", async () => {
    const before = await qemuPids(site);
    expect(before).toHaveLength(1);
    expect((await systemd.run("systemctl", "restart", TEEPOD)).exitCode).toBe(0);
    await healthy(site);
    expect(await qemuPids(site)).toEqual(before);
    const listed = await site.run("./dstack", ["--json", "ls"], { env: teepod });
    expect(JSON.parse(listed.stdout)).toMatchObject([{ id: vm, status: "running" }]);
  });

  it("K2: what upgrade prints works in the build directory, and records the permission for its KMS", async () => {
    const compose = site.path("docker-compose.yaml");
    await writeFile(compose, `${await readFile(compose, "utf8")}# another\n`);
    const upgraded = await site.run("./dstack", ["--json", "upgrade", vm, compose], { env: teepod });
    expect(upgraded, upgraded.stderr).toMatchObject({ exitCode: 0 });
    const answer = JSON.parse(upgraded.stdout) as { allow_command: string; upgraded_app_id: string };
    const allowed = await site.run("sh", ["-c", answer.allow_command]);
    expect(allowed, allowed.stderr).toMatchObject({ exitCode: 0 });
    expect(await readdir(site.path("run", "kms", "upgrades", appId))).toEqual([answer.upgraded_app_id]);
  });

  it("a VM that is removed leaves no process", async () => {
    const removed = await site.run("./dstack", ["rm", "--force", vm], { timeoutMs: 300_000, env: teepod });
    expect(removed, removed.stderr).toMatchObject({ exitCode: 0 });
    expect(await qemuPids(site)).toEqual([]);
  });
});

async function healthy(site: OperatorSite): Promise<void> {
  for (const url of ["https://127.0.0.1:9043", "https://127.0.0.1:9070", "http://127.0.0.1:9080"])
    await until(`${url} answers`, 300_000, () => answers(site, `${url}/healthz`));
}

async function qemuPids(site: OperatorSite): Promise<string[]> {
  const { stdout } = await site.run("pgrep", ["-f", `^qemu-system-x86_64.*${site.root}`]);
  return stdout.split("\n").filter((line) => line !== "");
}

/** Starts a registry on port 9050 and gives it the example's image. @returns the image's digest */
async function serveExampleImage(site: OperatorSite): Promise<string> {
  const config = join(site.root, "registry.yml");
  const storage = join(site.root, "registry");
  const url = "http://127.0.0.1:9050";
  await mkdir(storage);
  await writeFile(
    config,
    `version: 0.1\nlog: { level: warn }\nstorage: { filesystem: { rootdirectory: ${storage} } }\nhttp: { addr: "127.0.0.1:9050" }\n`,
  );
  site.start("registry", "docker-registry", ["serve", config]);
  await until("the registry answers", 300_000, () => answers(site, `${url}/v2/`));
  const tsx = join(checkout, "node_modules", ".bin", "tsx");
  const pushed = await site.run(tsx, [join(checkout, "packages/testbed/e2e/push-example-image.ts"), url]);
  expect(pushed, pushed.stderr).toMatchObject({ exitCode: 0 });
  return pushed.stdout;
}

async function until(what: string, limitMs: number, condition: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + limitMs;
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`${what}: not within ${limitMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, 250));
  }
}

async function answers(site: OperatorSite, url: string): Promise<boolean> {
  return (await site.run("curl", ["-sSk", "-o", "/dev/null", "--fail", url])).exitCode === 0;
}
