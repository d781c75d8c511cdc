import { readFileSync } from "node:fs";
import { readFile, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ResourceStack, identifyProcess } from "@dstack/daemon";
import type { Teepod } from "../src/index.js";
import { eventually } from "./helpers/eventually.js";
import { writeImage } from "./helpers/images.js";
import { AUDIT, OPERATOR, Site, client, testpod, vmRequest } from "./helpers/testpod.js";

const LIMIT_MS = 90_000;

async function console(pod: Teepod, id: string): Promise<string> {
  const headers = { authorization: `Bearer ${OPERATOR}` };
  return (await fetch(`${pod.url}/logs?id=${id}`, { headers })).text();
}

async function prints(pod: Teepod, id: string, text: string): Promise<void> {
  await eventually(
    `"${text}" on the console`,
    () => console(pod, id),
    (seen) => seen.includes(text),
    LIMIT_MS / 2,
  );
}

async function reaches(pod: Teepod, id: string, status: string) {
  return eventually(
    `status ${status}`,
    async () => (await client(pod).getInfo({ id })).info,
    (info) => info?.status === status,
    LIMIT_MS / 2,
  );
}

function pidOf(runPath: string, id: string): number {
  const record = JSON.parse(readFileSync(join(runPath, id, "process.json"), "utf8")) as { pid: number };
  return record.pid;
}

// Real QEMU under emulation. The guest is a kernel of some hundred bytes (see helpers/tiny-guest.ts).
describe("a VM in QEMU", { timeout: LIMIT_MS }, () => {
  it("starts, prints, survives teepod, obeys the power button, and leaves nothing", async () => {
    await using stack = new ResourceStack();
    const site = stack.use(await Site.make());
    let id: string;
    let pid: number;
    {
      await using pod = await site.start(site.config());
      id = (await client(pod).createVm(vmRequest())).id;
      await prints(pod, id, "hello");
      pid = pidOf(site.runPath, id);
    }
    expect(identifyProcess(pid)).toBeDefined();
    // A session of its own: what is sent to teepod's process group does not reach it.
    const session = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]?.split(" ")[3];
    expect(session).toBe(String(pid));

    await using pod = await site.start(site.config());
    expect(await reaches(pod, id, "running")).toMatchObject({ name: "hello" });
    expect(pidOf(site.runPath, id)).toBe(pid);
    expect(await console(pod, id)).toContain("hello");
    await client(pod).shutdownVm({ id });
    await reaches(pod, id, "stopped");
    expect(identifyProcess(pid)).toBeUndefined();

    await client(pod).startVm({ id });
    await prints(pod, id, "hello\nhello"); // the log of the boot before is kept
    const second = pidOf(site.runPath, id);
    expect(second).not.toBe(pid);
    await client(pod).stopVm({ id });
    expect(identifyProcess(second)).toBeUndefined();
    await client(pod).removeVm({ id });
    expect(await readdir(site.runPath)).toEqual(AUDIT);
  });

  it("that dies while booting has exited, with the reason in a sentence", async () => {
    await using pod = await testpod({});
    await writeImage(pod.site.images, "dies", {
      behaviour: "reset",
      text: "Kernel panic - not syncing: test\n",
    });
    const { id } = await pod.client.createVm(vmRequest({ image: "dies" }));
    expect(await reaches(pod.teepod, id, "exited")).toMatchObject({
      bootError:
        "the VM ended before it was ready (the guest rebooted or its kernel panicked); its console ended with: " +
        "Kernel panic - not syncing: test",
    });
    await pod.client.removeVm({ id });
  });

  it("that ignores the power button is ended", async () => {
    await using pod = await testpod({}, { cvm: { shutdown_timeout_seconds: 1 } });
    await writeImage(pod.site.images, "stubborn", { behaviour: "stubborn" });
    const { id } = await pod.client.createVm(vmRequest({ image: "stubborn" }));
    await prints(pod.teepod, id, "hello");
    await pod.client.shutdownVm({ id });
    expect((await reaches(pod.teepod, id, "stopped"))?.bootError).toBeUndefined();
    await pod.client.removeVm({ id });
  });

  it("that is killed from outside is noticed, by the teepod that started it and by the next", async () => {
    await using stack = new ResourceStack();
    const site = stack.use(await Site.make());
    let id: string;
    {
      await using pod = await site.start(site.config());
      id = (await client(pod).createVm(vmRequest())).id;
      process.kill(pidOf(site.runPath, id), "SIGKILL");
      expect((await reaches(pod, id, "exited"))?.bootError).toContain("the VM ended before it was ready (");
      await client(pod).startVm({ id });
    }
    await using pod = await site.start(site.config());
    await reaches(pod, id, "running");
    process.kill(pidOf(site.runPath, id), "SIGKILL");
    await reaches(pod, id, "exited");
    await client(pod).removeVm({ id });
  });

  it("T4: whose process was not written down before teepod was killed is found all the same", async () => {
    await using stack = new ResourceStack();
    const site = stack.use(await Site.make());
    let id: string;
    {
      await using pod = await site.start(site.config());
      id = (await client(pod).createVm(vmRequest())).id;
    }
    await rm(join(site.runPath, id, "process.json"));
    await rm(join(site.runPath, id, "state.json"));
    await using pod = await site.start(site.config());
    expect((await client(pod).status()).vms).toMatchObject([{ id, status: "running" }]);
    await client(pod).stopVm({ id });
    expect(site.processes()).toEqual([]);
  });

  it("that QEMU refuses to start gives QEMU's own words and leaves nothing", async () => {
    await using pod = await testpod({}, { cvm: { accel: "tdx" } });
    await expect(pod.client.createVm(vmRequest())).rejects.toThrow(/^QEMU did not start: ./);
    await expect(pod.client.status()).resolves.toMatchObject({ vms: [] });
    expect(await readdir(pod.site.runPath)).toEqual(AUDIT);
  });

  it("that has no QEMU gives a clear error", async () => {
    await using pod = await testpod({}, { config: { qemu_path: "/nowhere/qemu" } });
    await expect(pod.client.createVm(vmRequest())).rejects.toThrow("cannot run /nowhere/qemu");
  });

  it("T2: is started with a list of arguments and an environment without secrets", async () => {
    process.env["TEEPOD_TEST_SECRET"] = "secret";
    await using pod = await testpod({});
    const { id } = await pod.client.createVm(vmRequest());
    delete process.env["TEEPOD_TEST_SECRET"];
    const pid = pidOf(pod.site.runPath, id);
    const environment = await readFile(`/proc/${pid}/environ`, "utf8");
    expect(environment.split("\0").filter((text) => text !== "" && !text.startsWith("PATH="))).toEqual([]);
    const argv = (await readFile(`/proc/${pid}/cmdline`, "utf8")).split("\0");
    expect(argv.slice(0, 3)).toEqual(["qemu-system-x86_64", "-name", `guest=${id}`]);
    await pod.client.stopVm({ id });
    await pod.client.removeVm({ id });
  });
});
