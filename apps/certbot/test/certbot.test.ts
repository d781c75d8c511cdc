import { X509Certificate, createPrivateKey } from "node:crypto";
import { existsSync } from "node:fs";
import { readFile, readdir, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { loadConfig, silentLogger } from "@dstack/daemon";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { CertbotConfig } from "../src/config.js";
import { startCertbot } from "../src/service.js";
import { CloudflareWorld } from "./support.js";

let world: CloudflareWorld;
beforeAll(async () => {
  world = await CloudflareWorld.start();
});
afterAll(() => world[Symbol.asyncDispose]());
afterEach(async () => {
  world.cloudflare.fault = undefined;
  world.cloudflare.afterEffect = undefined;
  world.cloudflare.rows.length = 0;
  await world.dns.setRecords("app.example.test", []);
});

async function liveIsWhole(workdir: string): Promise<boolean> {
  const live = join(world.dir, workdir, "live");
  if (!existsSync(live)) return false;
  const cert = new X509Certificate(await readFile(join(live, "cert.pem"), "utf8"));
  return cert.checkPrivateKey(createPrivateKey(await readFile(join(live, "key.pem"), "utf8")));
}

describe("certbot on the command line", () => {
  it("init, renew, status, renew again, renew --force", async () => {
    const c = ["-c", await world.configFile("life")];
    const init = await world.run(["init", ...c]);
    expect(init.stdout).toContain("pebble: https://");
    expect(world.caa()).toHaveLength(2);
    const first = await world.run(["renew", "--once", ...c]);
    expect(first.stdout).toContain("renewed: *.app.example.test until");
    expect(await liveIsWhole("life")).toBe(true);
    const status = await world.run(["status", ...c]);
    expect(status).toMatchObject({ exitCode: 0 });
    expect(status.stdout).toContain("nothing is in the way of the next renewal");
    const again = await world.run(["renew", "--once", ...c]);
    expect(again.stdout).toContain("up to date: *.app.example.test");
    const forced = await world.run(["renew", "--once", "--force", ...c]);
    expect(forced.stdout).toContain("renewed");
    expect(await readdir(join(world.dir, "life/backup"))).toHaveLength(2);
    const json = await world.run(["status", "--json", ...c]);
    expect(JSON.parse(json.stdout)).toMatchObject({
      hookPending: false,
      certificate: { names: ["*.app.example.test"] },
    });
  });

  it("runs the hook with the paths, without a shell, and fails when it does", async () => {
    const out = join(world.dir, "hook.out");
    const script = join(world.dir, "hook.mjs");
    await writeFile(
      script,
      `import fs from "node:fs"; fs.writeFileSync(process.argv[2], process.env.CERTBOT_CERT);`,
    );
    const good = await world.configFile("hook", `renewed_hook = ["node", "${script}", "${out}"]`);
    expect((await world.run(["renew", "--once", "-c", good])).exitCode).toBe(0);
    expect(await readFile(out, "utf8")).toBe(join(world.dir, "hook/live/cert.pem"));
    const bad = await world.configFile(
      "hook",
      `renewed_hook = ["node", "-e", "console.log('no nginx'); process.exit(3)"]`,
    );
    const failed = await world.run(["renew", "--once", "--force", "-c", bad]);
    expect(failed).toMatchObject({ exitCode: 1 });
    expect(failed.stderr).toContain("the renew hook node failed with exit code 3: no nginx");
    expect((await world.run(["status", "-c", bad])).stdout).toContain("hook has not succeeded");
  });

  it("cfg writes a configuration that loads, for its owner only, and never over another", async () => {
    const path = join(world.dir, "written.toml");
    await world.run(["cfg", "--write-to", path]);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    await expect(loadConfig(CertbotConfig, { path })).resolves.toMatchObject({
      domains: ["*.app.example.com"],
    });
    expect((await world.run(["cfg", "-w", path])).stderr).toContain("nothing is ever overwritten");
    expect((await world.run(["cfg"])).stdout).toBe((await readFile(path, "utf8")).trimEnd());
  });

  it("a configuration that nobody edited reaches neither CA nor DNS", async () => {
    const path = join(world.dir, "unedited.toml");
    await world.run(["cfg", "--write-to", path]);
    const text = await readFile(path, "utf8");
    const run = async (): Promise<string> => {
      const { exitCode, stderr } = await world.run(["init", "-c", path]);
      expect(exitCode).toBe(2);
      return stderr;
    };
    expect(await run()).toContain("app.example.com is the example's domain");
    await writeFile(path, text.replaceAll("app.example.com", "app.example.test"));
    expect(await run()).toContain('"cf_api_token" is still the example\'s');
    await writeFile(path, text.replace("replace me", "a-token"));
    expect(await run()).toContain("app.example.com is the example's domain");
  });

  it("an operator's mistake is a sentence and exit code 2", async () => {
    const path = join(world.dir, "bad.toml");
    await writeFile(path, 'workdir = "x"\ndomain = "*.*.test"\nsurprise = 1\n');
    const { exitCode, stderr } = await world.run(["renew", "--once", "-c", path]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain('unknown key "surprise"');
    expect(stderr).not.toContain("at file:");
    const token = await world.run(["status", "-c", await world.configFile("other")], {
      CERTBOT_DNS__PROVIDER: "webhook",
    });
    expect(token.exitCode).toBe(2);
    // 1 of `status` is "something is in the way".
    for (const args of [["stats"], ["status", "--jason"], []])
      expect([args, (await world.run(args)).exitCode]).toEqual([args, 2]);
  });
});

describe("kill -9", () => {
  it("C1: after every single change of DNS: CAA never opens once set, and the next run finishes", async () => {
    const config = await world.configFile("killed");
    // A stale record of an earlier account: replaced, never just removed.
    const stale = { id: "old", type: "CAA", name: "app.example.test", ttl: 60 };
    const data = { flags: 0, tag: "issue", value: "pebble.test;accounturi=https://ca.test/old" };
    let kills = 0;
    for (let stop = 1; ; stop++) {
      const before = existsSync(join(world.dir, "killed/live"));
      world.cloudflare.rows.splice(0, Infinity, { ...stale, content: `0 issue "${data.value}"`, data });
      let changes = 0;
      let killed = false;
      const child = world.run(["renew", "--once", "--force", "-c", config]);
      world.cloudflare.afterEffect = ({ method }) => {
        if (method === "GET" || ++changes !== stop) return;
        killed = true;
        child.kill("SIGKILL");
      };
      await child;
      world.cloudflare.afterEffect = undefined;
      expect(world.caa().some((content) => content.startsWith("0 issue "))).toBe(true);
      if (before) expect(await liveIsWhole("killed")).toBe(true);
      const next = await world.run(["renew", "--once", "-c", config]);
      expect(next.exitCode).toBe(0);
      expect(await liveIsWhole("killed")).toBe(true);
      expect(world.caa()).toHaveLength(2);
      expect(world.caa().join()).not.toContain("ca.test/old");
      // What is left of an order that was due by force only stays pending; the next order takes it up.
      if (!killed) break;
      kills++;
    }
    expect(kills).toBeGreaterThanOrEqual(8);
    await world.run(["renew", "--once", "--force", "-c", config]);
    expect(world.cloudflare.rows.filter(({ type }) => type === "TXT")).toEqual([]);
    expect(await readdir(join(world.dir, "killed/pending"))).toEqual([]);
  });
});

describe("the service", () => {
  it("renews, tells metrics and health, and stops", async () => {
    const path = await world.configFile("service", "", "[metrics]\nport = 0");
    await using service = await startCertbot(await loadConfig(CertbotConfig, { path }), {
      log: silentLogger(),
    });
    const get = async (what: string): Promise<string> =>
      (await fetch(`http://127.0.0.1:${service.port}/${what}`)).text();
    expect(await get("healthz")).toContain("failing");
    await expect.poll(() => get("healthz")).toContain('"ok"');
    const metrics = await get("metrics");
    expect(metrics).toContain('certbot_checks_total{result="renewed"} 1');
    expect(metrics).toMatch(/certbot_certificate_expiry_seconds 1\d{9}/);
    expect(metrics).not.toContain(world.cloudflare.token);
  });

  it("goes on after a failure and says in health what it was", async () => {
    world.cloudflare.fault = () => ({ status: 403, body: "{}" });
    const path = await world.configFile("failing", "", "[metrics]\nport = 0");
    await using service = await startCertbot(await loadConfig(CertbotConfig, { path }), {
      log: silentLogger(),
    });
    const health = async (): Promise<string> =>
      (await fetch(`http://127.0.0.1:${service.port}/healthz`)).text();
    await expect.poll(health).toContain("does not accept the credentials");
    const metrics = await (await fetch(`http://127.0.0.1:${service.port}/metrics`)).text();
    expect(metrics).toContain('certbot_checks_total{result="failed"} 1');
  });
});
