import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Site, issue } from "./site.js";

const root = fileURLToPath(new URL("../../../", import.meta.url));
let built: string;
let site: Site;
beforeAll(async () => {
  built = await mkdtemp(join(tmpdir(), "ct-monitor-program-"));
  await execa("node", ["scripts/bundle.mjs", "apps/ct-monitor/src/main.ts", join(built, "ct_monitor.mjs")], {
    cwd: root,
  });
});
afterAll(() => rm(built, { recursive: true }));
beforeEach(async () => {
  site = await Site.start();
});
afterEach(() => site[Symbol.asyncDispose]());

/** As in the seed: `ct_monitor -t … -d …`, with a ct-monitor.toml in the directory. */
async function start(args: readonly string[], extra = "") {
  await writeFile(
    join(site.dir, "ct-monitor.toml"),
    `state_file = "${site.stateFile}"
     grace_secs = 0
     ${extra}
     [crt_sh]
     enabled = false
     [[log]]
     url = "${site.log.url}"
     public_key = "${site.log.publicKey}"
     start = "beginning"
    `,
  );
  const flags = ["-t", site.tproxy.url, "-d", "app.example.org", "--ca", join(site.dir, "kms-root.pem")];
  const child = execa("node", [join(built, "ct_monitor.mjs"), ...flags, ...args], {
    cwd: site.dir,
    reject: false,
  });
  return { child };
}
const run = async (args: readonly string[], extra = "") => (await start(args, extra)).child;
const once = ["--once", "--insecure-keys-on-trust"];

describe("ct_monitor on the command line", () => {
  it("C3: exit code 0 when quiet, 1 with an alert, again until it is acknowledged, 3 when it cannot look", async () => {
    expect(await run(once)).toMatchObject({ exitCode: 0, stdout: "nothing to report for app.example.org" });
    site.log.add((await issue()).der);
    const found = await run(once);
    expect(found).toMatchObject({ exitCode: 1 });
    expect(found.stdout).toMatch(
      /^ALERT [0-9a-f]{16} unknown_key: certificate has issued to unknown pubkey$/m,
    );
    expect(await run(once)).toMatchObject({ exitCode: 1 });
    const id = /ALERT ([0-9a-f]{16})/.exec(found.stdout)?.[1];
    expect(await run(once, `acknowledged = ["${id}"]`)).toMatchObject({ exitCode: 0 });
    site.log.lie = () => "down";
    const blind = await run(once, `acknowledged = ["${id}"]`);
    expect(blind).toMatchObject({ exitCode: 3 });
    expect(blind.stdout).toContain("NOT CHECKED http://127.0.0.1");
  });

  it("C3: does not take keys on trust unless told to, and says what to write", async () => {
    const { exitCode, stderr } = await run(["--once"]);
    expect(exitCode).toBe(2);
    expect(stderr).toContain("give [attestation] and tproxy_compose_hashes");
    expect(stderr).toContain("--insecure-keys-on-trust");
  });

  it("C3: wrong usage is no alert: exit code 2, and a sentence on what is missing", async () => {
    const bare = (...args: string[]) =>
      execa("node", [join(built, "ct_monitor.mjs"), ...args], { cwd: site.dir, reject: false });
    expect(await bare("--ones")).toMatchObject({ exitCode: 2 });
    expect(await bare("now")).toMatchObject({ exitCode: 2 });
    expect(await bare("--version")).toMatchObject({ exitCode: 0 });
    const { exitCode, stderr } = await bare("--once");
    expect(exitCode).toBe(2);
    expect(stderr).toMatch(/^ct_monitor: there is no ct-monitor\.toml here .*"tproxy_url" is missing/);
  });

  it("C3: kill -9 in the middle of reading: the next run goes on from whole state and finds what there is", async () => {
    for (let i = 0; i < 9000; i += 1) site.log.addLeaf(new TextEncoder().encode(String(i)));
    site.log.add((await issue()).der);
    for (const at of [1, 20, 66, 70]) {
      const { child } = await start(once);
      let asked = 0;
      site.log.lie = (method, truth) => {
        if (method !== "get-entries" || ++asked < at) return truth;
        child.kill("SIGKILL");
        return "hang";
      };
      await child;
      expect(asked).toBe(at);
      const text = await readFile(site.stateFile, "utf8");
      expect(() => JSON.parse(text) as unknown).not.toThrow();
    }
    site.log.lie = undefined;
    site.log.asked.length = 0;
    expect((await run(once)).exitCode).toBe(1);
    // It did not begin anew.
    expect(site.log.asked.find((question) => question.startsWith("get-entries"))).not.toContain("start=0&");
  });
});
