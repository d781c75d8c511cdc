import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { serveCustomDomain } from "./custom-domain.js";
import { Machine } from "./machine.js";

interface UpResult {
  vm: string;
  app_id: string;
  url: string;
  seconds: { total: number };
  report: { verdict: string; anchor: string; refused: unknown[]; not_checked: { check: string }[] };
}
interface Row {
  id: string;
  status: string;
  app_id: string;
  boot_error?: string;
  boot_progress?: string;
}

const UP_LIMIT_MS = 30 * 60_000;

if (process.getuid?.() !== 0)
  console.log("not root: the tests in QEMU need it for WireGuard and network namespaces");

describe.runIf(process.getuid?.() === 0)(
  "the real thing: QEMU, WireGuard, Docker; one after the other",
  () => {
    let machine: Machine;
    let up: UpResult;

    beforeAll(async () => {
      machine = await Machine.create();
    });
    afterEach(async ({ task }) => {
      if (task.result?.state === "fail") console.log(await machine.consoles());
    });
    afterAll(async () => {
      await machine.destroy();
    });

    const ca = (): string => join(machine.home, "proxy", "ca.pem");
    const curlApp = (path: string, port?: number): Promise<string> => {
      const host = new URL(up.url);
      if (port !== undefined) host.hostname = host.hostname.replace(/^([0-9a-f]{40})/, `$1-${port}`);
      return machine.curl(["--cacert", ca(), `${host.origin}${path}`]);
    };
    const vm = async (): Promise<Row> => {
      const row = (await machine.json<Row[]>(["ls"])).find(({ id }) => id === up.vm);
      if (row === undefined) throw new Error("the VM is not listed");
      return row;
    };
    const until = async (what: string, limitMs: number, condition: () => Promise<boolean>): Promise<void> => {
      const end = Date.now() + limitMs;
      while (!(await condition())) {
        if (Date.now() > end) throw new Error(`${what}: not within ${limitMs} ms`);
        await new Promise((resolve) => setTimeout(resolve, 500));
      }
    };

    it("dstack up deploys the example and verifies its quote", async () => {
      up = await machine.json<UpResult>(["up"], { timeoutMs: UP_LIMIT_MS });
      console.log(`up took ${up.seconds.total.toFixed(0)} s`);
      expect(up.report).toMatchObject({ verdict: "verified", anchor: "simulated", refused: [] });
      // TLS ends at the proxy: nothing else is left unchecked.
      expect(up.report.not_checked.map(({ check }) => check)).toEqual(["TLS key"]);
    });

    it("curl reaches the app by name over HTTPS", async () => {
      expect(await curlApp("/")).toContain("hello from the CVM");
    });

    it("the app's quote carries the caller's nonce, and dstack verify refuses it for another one", async () => {
      const path = join(machine.home, "quote.json");
      await writeFile(path, await curlApp("/quote?nonce=00ff"));
      const common = ["--app-id", up.app_id, ...(await trust(machine))];
      expect(await machine.dstack(["verify", path, "--nonce", "00ff", ...common])).toContain(
        "quote verified (simulated platform)",
      );
      const other = await machine.run("scripts/dstack", ["verify", path, "--nonce", "00fe", ...common]);
      expect(other).toMatchObject({ code: 1 });
      expect(other.out).toContain("REFUSED: report data: ");
      const noRoot = await machine.run("scripts/dstack", [
        "verify",
        path,
        "--nonce",
        "00ff",
        ...common.slice(0, -2),
      ]);
      expect(noRoot, "E10: nobody trusts the simulator unless its root is named").toMatchObject({ code: 1 });
    });

    it("tappd streams the container's log through the tunnel, with the flags of the first release", async () => {
      const containers = JSON.parse(await curlApp("/prpc/Worker.ListContainers", 8090)) as {
        containers: { names: string[] }[];
      };
      const name = containers.containers[0]?.names[0]?.replace(/^\//, "") ?? "";
      expect(name).not.toBe("");
      expect(
        await curlApp(`/logs/${name}?since=0&until=0&text=true&timestamps=true&bare=true`, 8090),
      ).toMatch(/^\d{4}-\d\d-\d\dT.*hello is serving on port 80/m);
      const first: unknown = JSON.parse(
        (await curlApp(`/logs/${name}?since=0&text`, 8090)).split("\n")[0] ?? "",
      );
      expect(first).toMatchObject({ channel: "stdout", message: "hello is serving on port 80\n" });
    });

    it("tappd's pages come through the tunnel, and the check they name verifies the guest by its own certificate", async () => {
      const overview = await curlApp("/", 8090);
      expect(overview.match(/Equal: replaying/g)).toHaveLength(4);
      const address = /dstack verify (https:\S+)/.exec(overview)?.[1] ?? "";
      expect(new URL(address).hostname).toBe(`${up.app_id}-8043s.${new URL(up.url).hostname.slice(41)}`);

      const compose = join(machine.home, "app-compose.json");
      await writeFile(compose, await curlApp("/app-compose.json", 8090));
      expect(
        await machine.dstack(["verify", address, "--compose", compose, ...(await trust(machine))]),
      ).toContain("verified (simulated platform)");

      const containers = await curlApp("/containers", 8090);
      expect(containers).toContain("running: Up");
      expect(containers).toMatch(/dstack\/hello@sha256:[0-9a-f]{64}/);
      const log = /href="(\/containers\/[^"]+)"/.exec(containers)?.[1] ?? "";
      expect(await curlApp(log, 8090)).toContain("hello is serving on port 80");
      expect(await curlApp("/events", 8090)).toContain("is that of name and payload");
      expect(await curlApp("/system", 8090)).toContain('aria-label="Processor: ');
    });

    it("teepod killed with -9 and started again still owns its running VM", async () => {
      const before = await machine.state();
      process.kill(before.daemons["teepod"]?.pid ?? 0, "SIGKILL");
      await until(
        "teepod is gone",
        120_000,
        async () =>
          !(await machine.processes()).some((p) => p.startsWith(`${before.daemons["teepod"]?.pid} `)),
      );
      expect(await curlApp("/")).toContain("hello from the CVM");
      await machine.dstack(["up", "--no-example"], { timeoutMs: UP_LIMIT_MS });
      expect(await vm()).toMatchObject({ status: "running" });
    });

    it("tproxy killed with -9 and started again still has the route", async () => {
      const before = await machine.state();
      process.kill(before.daemons["tproxy"]?.pid ?? 0, "SIGKILL");
      await until(
        "tproxy is gone",
        120_000,
        async () =>
          !(await machine.processes()).some((p) => p.startsWith(`${before.daemons["tproxy"]?.pid} `)),
      );
      await machine.dstack(["up", "--no-example"], { timeoutMs: UP_LIMIT_MS });
      await until("the app answers", 300_000, () =>
        curlApp("/").then(
          (page) => page.includes("hello"),
          () => false,
        ),
      );
    });

    it("K2: an upgrade is refused by the KMS until it is allowed, then runs under the old app id with the old disk", async () => {
      const listed = JSON.parse(
        await machine.curl([
          ...(await authorized(machine)),
          `${await teepodUrl(machine)}/prpc/Teepod.GetInfo?id=${up.vm}`,
        ]),
      ) as {
        info: { instance_id: string; configuration: { compose_file: string } };
      };
      const instanceId = listed.info.instance_id;
      expect(instanceId).toMatch(/^[0-9a-f]{40}$/);
      const compose = JSON.parse(listed.info.configuration.compose_file) as Record<string, unknown>;
      const file = join(machine.home, "upgraded.json");
      await writeFile(file, JSON.stringify({ ...compose, name: "hello again" }));
      const upgraded = await machine.json<{ upgraded_app_id: string }>(["upgrade", up.vm, file]);
      expect(upgraded.upgraded_app_id).not.toBe(up.app_id);

      expect(await machine.dstack(["logs", up.vm, "-n", "2000"])).toContain("Pulled");

      await machine.dstack(["stop", up.vm], { timeoutMs: 600_000 });
      await machine.dstack(["start", up.vm]);
      await until("the KMS refuses", 600_000, async () => (await vm()).boot_error !== undefined);
      expect((await vm()).boot_error).toContain("upgrade");
      await machine.dstack(["stop", "--force", up.vm]);

      const allowed = await machine.run("scripts/kms-allow-upgrade.sh", [
        "-c",
        join(machine.home, "kms.toml"),
        up.app_id,
        upgraded.upgraded_app_id,
      ]);
      expect(allowed, allowed.err).toMatchObject({ code: 0 });
      await machine.dstack(["start", up.vm]);
      await until("the upgraded app is ready", 900_000, async () => {
        const row = await vm();
        if (row.boot_error) throw new Error(row.boot_error);
        return row.boot_progress?.startsWith("ready") === true;
      });
      await until("the app answers", 300_000, () =>
        curlApp("/").then(
          (page) => page.includes("hello"),
          () => false,
        ),
      );
      const after = JSON.parse(
        await machine.curl([
          ...(await authorized(machine)),
          `${await teepodUrl(machine)}/prpc/Teepod.GetInfo?id=${up.vm}`,
        ]),
      ) as typeof listed;
      expect(after.info.instance_id).toBe(instanceId);
      // The container's image lies on the data disk: it was pulled at the first boot, and now need not be.
      const boots = (await machine.dstack(["logs", up.vm, "-n", "2000"])).split("prepare: start");
      expect(boots.length).toBeGreaterThan(2);
      expect(boots.at(-1)).not.toContain("Pulled");
      expect(await machine.dstack(["verify", up.vm])).toContain("quote verified (simulated platform)");
    });

    it("C5: an ingress in a CVM serves a custom domain through tproxy, and dstack verify follows its evidence", async () => {
      const { info } = JSON.parse(
        await machine.curl([
          ...(await authorized(machine)),
          `${await teepodUrl(machine)}/prpc/Teepod.GetInfo?id=${up.vm}`,
        ]),
      ) as { info: { configuration: { compose_file: string } } };
      const app = /image: (dstack\/hello@sha256:[0-9a-f]{64})/.exec(info.configuration.compose_file)?.[1];
      const began = Date.now();
      await serveCustomDomain(machine, app ?? "", await trust(machine));
      console.log(`the custom domain took ${((Date.now() - began) / 1000).toFixed(0)} s`);
    });

    it("a removed VM leaves nothing, and down leaves no process, interface or file behind", async () => {
      await machine.dstack(["rm", "--force", up.vm], { timeoutMs: 300_000 });
      expect(await machine.json<Row[]>(["ls"])).toEqual([]);
      await machine.dstack(["down", "--purge"], { timeoutMs: 600_000 });
      expect(await machine.processes()).toEqual([]);
      expect(await machine.interfaces()).toEqual(["lo"]);
      expect(await machine.files()).toEqual([]);
      expect(await readFile("/proc/mounts", "utf8")).not.toContain(machine.home);
    });
  },
);

/** What `dstack verify` is told to trust: the image, and the simulated platform. */
async function trust(machine: Machine): Promise<string[]> {
  const state = JSON.parse(await readFile(join(machine.home, "state.json"), "utf8")) as { image: string };
  const { ports } = await machine.state();
  return [
    ...["--image", join("images", "out", state.image), "--pccs-url", `http://127.0.0.1:${ports["pcs"]}`],
    ...["--simulated-root", join(machine.home, "simulated-root.pem")],
  ];
}

async function teepodUrl(machine: Machine): Promise<string> {
  return `http://127.0.0.1:${(await machine.state()).ports["teepod"]}`;
}

async function authorized(machine: Machine): Promise<string[]> {
  return [
    "-H",
    `Authorization: Bearer ${(await readFile(join(machine.home, "teepod.token"), "utf8")).trim()}`,
  ];
}
