import { createServer } from "node:net";
import type { AddressInfo } from "node:net";
import { mkdir, readFile, readdir, rename, stat, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { appIdOfCompose, hex, sha256, utf8 } from "@dstack/core";
import { ResourceStack } from "@dstack/daemon";
import { eventually } from "./helpers/eventually.js";
import { FakeHypervisor } from "./helpers/fake-hypervisor.js";
import { writeImage } from "./helpers/images.js";
import { ManualClock } from "./helpers/manual-clock.js";
import { AUDIT, COMPOSE, Site, client, testpod, vmRequest } from "./helpers/testpod.js";
import type { TeepodClient } from "./helpers/testpod.js";

const COMPOSE_2 = COMPOSE.replace("image: hello", "image: hello:2");
const INSTANCE = "12".repeat(20);

async function only(pod: TeepodClient) {
  const [vm, ...others] = (await pod.status()).vms;
  if (vm === undefined || others.length > 0) throw new Error("there should be one VM");
  return vm;
}

/** Waits until the one VM has that status. */
async function reaches(pod: TeepodClient, status: string) {
  return eventually(
    `status ${status}`,
    () => only(pod),
    (vm) => vm.status === status,
  );
}

describe("the life of a VM", () => {
  it("created, running, shut down, started, stopped, removed", async () => {
    const hypervisor = new FakeHypervisor();
    await using pod = await testpod({ hypervisor });
    const { id } = await pod.client.createVm(vmRequest({ encryptedEnv: new Uint8Array(80).fill(7) }));
    expect(await only(pod.client)).toMatchObject({
      id,
      name: "hello",
      status: "running",
      appId: appIdOfCompose(utf8(COMPOSE)),
      configuration: { composeFile: COMPOSE, vcpu: 1, memory: 64, diskSize: 1, image: "tiny-0.0.1" },
    });
    const shared = join(pod.site.runPath, id, "shared");
    expect(await readFile(join(shared, "app-compose.json"), "utf8")).toBe(COMPOSE);
    expect(await readFile(join(shared, "encrypted-env"))).toEqual(Buffer.alloc(80, 7));

    expect(JSON.parse(await readFile(join(shared, "config.json"), "utf8"))).toMatchObject({
      vm_config: {
        image: "tiny-0.0.1",
        os_image_hash: hex(sha256(await readFile(join(pod.site.images, "tiny-0.0.1", "sha256sum.txt")))),
        cpu_count: 1,
        memory_size: 64 * 2 ** 20,
      },
    });

    await pod.client.shutdownVm({ id });
    expect(hypervisor.vm(id).powerButtonPressed).toBe(1);
    expect((await only(pod.client)).status).toBe("stopping");
    await expect(pod.client.startVm({ id })).rejects.toMatchObject({ code: "conflict" });
    await expect(pod.client.removeVm({ id })).rejects.toMatchObject({ code: "conflict" });
    hypervisor.vm(id).end({ code: 0, reason: "the guest shut down" });
    const stopped = await reaches(pod.client, "stopped");
    expect(stopped.exitedAt).toBeDefined();
    expect(stopped.bootError).toBeUndefined();

    await pod.client.startVm({ id });
    await pod.client.startVm({ id }); // runs already: as asked
    expect(hypervisor.launches).toHaveLength(2);
    await expect(pod.client.removeVm({ id })).rejects.toThrow("the VM is running; stop it first");
    const running = hypervisor.vm(id);
    await pod.client.stopVm({ id });
    expect(running.killed).toBe(true);
    expect((await only(pod.client)).status).toBe("stopped");
    await pod.client.stopVm({ id });
    await pod.client.removeVm({ id });
    expect((await pod.client.status()).vms).toEqual([]);
    expect(await readdir(pod.site.runPath)).toEqual(AUDIT);
    await expect(pod.client.startVm({ id })).rejects.toMatchObject({ code: "not_found" });
    expect(await pod.client.getInfo({ id })).toMatchObject({ found: false });
  });

  it("a guest that ignores the power button is ended when its time is over", async () => {
    const hypervisor = new FakeHypervisor();
    const clock = new ManualClock();
    await using pod = await testpod({ hypervisor, clock }, { cvm: { shutdown_timeout_seconds: 30 } });
    const { id } = await pod.client.createVm(vmRequest());
    const vm = hypervisor.vm(id);
    await pod.client.shutdownVm({ id });
    clock.advance(29_999);
    await pod.client.shutdownVm({ id }); // asking again does not give it more time
    expect(vm.killed).toBe(false);
    clock.advance(1);
    await reaches(pod.client, "stopped");
    expect(vm.killed).toBe(true);
  });

  it("what the guest reports is shown while it boots and runs", async () => {
    const hypervisor = new FakeHypervisor();
    await using pod = await testpod({ hypervisor });
    const { id } = await pod.client.createVm(vmRequest());
    const vm = hypervisor.vm(id);
    await vm.progress("kms", "start", "asking for keys");
    expect(await only(pod.client)).toMatchObject({ status: "running", bootProgress: "kms: asking for keys" });
    await vm.progress("kms", "error", "measurement is not allowed");
    expect((await only(pod.client)).bootError).toBe("kms: measurement is not allowed");
  });

  it("a VM that dies while booting has exited, with the guest's reason", async () => {
    const hypervisor = new FakeHypervisor();
    await using pod = await testpod({ hypervisor });
    const { id } = await pod.client.createVm(vmRequest());
    await hypervisor.vm(id).progress("kms", "error", "measurement is not allowed");
    hypervisor.vm(id).end({ code: 0, reason: "the guest shut down" });
    expect(await reaches(pod.client, "exited")).toMatchObject({
      bootError: "kms: measurement is not allowed",
    });
    await pod.client.startVm({ id });
    const again = await only(pod.client);
    expect(again.status).toBe("running");
    expect(again.bootError).toBeUndefined();
    expect(again.bootProgress).toBeUndefined();
  });

  it("a VM that dies without a word has exited, with the end of its console", async () => {
    const hypervisor = new FakeHypervisor();
    await using pod = await testpod({ hypervisor });
    const { id } = await pod.client.createVm(vmRequest());
    await hypervisor.vm(id).print("[    1.2] Kernel panic - not syncing: no init\r\n[    1.3] Rebooting\r\n");
    hypervisor.vm(id).end({ code: 0, reason: "the guest rebooted or its kernel panicked" });
    expect((await reaches(pod.client, "exited")).bootError).toBe(
      "the VM ended before it was ready (the guest rebooted or its kernel panicked); its console ended with: " +
        "Kernel panic - not syncing: no init",
    );
  });

  it("a VM that had been ready exits without a boot error", async () => {
    const hypervisor = new FakeHypervisor();
    await using pod = await testpod({ hypervisor });
    const { id } = await pod.client.createVm(vmRequest());
    await hypervisor.vm(id).progress("ready", "done");
    hypervisor.vm(id).end({ code: 0, reason: "the guest shut down" });
    const exited = await reaches(pod.client, "exited");
    expect(exited.bootError).toBeUndefined();
    expect(exited.notice).toBe("the guest shut down");
    expect(exited.bootProgress).toBe("ready");
    await pod.client.stopVm({ id });
    expect((await only(pod.client)).status).toBe("stopped");
  });

  it("the guest's instance info comes back to it at the next start, checked", async () => {
    const hypervisor = new FakeHypervisor();
    await using pod = await testpod({ hypervisor });
    const { id } = await pod.client.createVm(vmRequest());
    const dir = join(pod.site.runPath, id);
    const appId = appIdOfCompose(utf8(COMPOSE));
    const info = { bootstrapped: true, instance_id: INSTANCE, instance_salt: "5a".repeat(20), app_id: appId };
    await expect(stat(join(dir, "shared", ".instance_info"))).rejects.toMatchObject({ code: "ENOENT" });
    await writeFile(join(dir, "status", ".instance_info"), JSON.stringify({ ...info, evil: "x" }));
    expect((await only(pod.client)).instanceId).toBe(INSTANCE);
    const restart = async (): Promise<unknown> => {
      await pod.client.stopVm({ id });
      await pod.client.startVm({ id });
      return JSON.parse(await readFile(join(dir, "shared", ".instance_info"), "utf8"));
    };
    expect(await restart()).toEqual(info);
    expect(await readdir(join(dir, "status"))).toEqual([]);
    // A boot that writes nothing, or rubbish, or a link to somebody's file does not make the VM forget who it is.
    expect(await restart()).toEqual(info);
    await writeFile(join(dir, "status", ".instance_info"), "{");
    expect(await restart()).toEqual(info);
    const other = join(pod.site.dir, "other");
    await writeFile(other, JSON.stringify({ ...info, instance_id: "ff".repeat(20) }));
    await symlink(other, join(dir, "status", ".instance_info"));
    expect(await restart()).toEqual(info);
  });

  /** Lets time pass until something is so. */
  async function passes(clock: ManualClock, what: string, holds: () => boolean): Promise<void> {
    await eventually(
      what,
      () => {
        clock.advance(1_000);
        return holds();
      },
      (so) => so,
    );
  }

  const full = "the guest put more on its status share than the 256 files and 16 MB it may, so it was ended";

  it("T7: a guest that fills its status share is ended, and the share is emptied", async () => {
    const hypervisor = new FakeHypervisor();
    const clock = new ManualClock();
    await using pod = await testpod({ hypervisor, clock });
    const { id } = await pod.client.createVm(vmRequest());
    const vm = hypervisor.vm(id);
    const status = join(vm.launch.dir, "status");
    await mkdir(join(status, "a/b/c/d/e/f/g/h/i/j"), { recursive: true });
    await passes(clock, "the end of the VM", () => vm.killed);
    expect(await reaches(pod.client, "exited")).toMatchObject({
      notice: full,
      bootError: `the VM ended before it was ready (${full}); it printed nothing on its console`,
    });
    await eventually(
      "an empty share",
      () => readdir(status).catch(() => ["being made anew"]),
      (names) => names.length === 0,
    );
  });

  it("T7: files the guest has deleted and goes on writing to count", async () => {
    const hypervisor = new FakeHypervisor();
    const clock = new ManualClock();
    await using pod = await testpod({ hypervisor, clock });
    const { id } = await pod.client.createVm(vmRequest());
    const vm = hypervisor.vm(id);
    vm.deleted = 2 ** 30;
    await passes(clock, "the end of the VM", () => vm.killed);
    expect(await reaches(pod.client, "exited")).toMatchObject({ notice: full });
  });

  it("T7: a VM that does not end when it is told to keeps nobody from watching the others", async () => {
    const hypervisor = new FakeHypervisor();
    const clock = new ManualClock();
    await using pod = await testpod({ hypervisor, clock });
    const stuck = hypervisor.vm((await pod.client.createVm(vmRequest())).id);
    const other = hypervisor.vm((await pod.client.createVm(vmRequest())).id);
    let release: (() => void) | undefined;
    stuck.kill = () => new Promise((resolve) => (release = resolve));
    const stopping = pod.client.stopVm({ id: stuck.launch.id });
    await passes(clock, "telling it to end", () => release !== undefined);
    other.deleted = 2 ** 30;
    await passes(clock, "the end of the other VM", () => other.killed);
    stuck.end({ code: null });
    release?.();
    await stopping;
  });

  it("a VM that stands still for the host's disk is full says so, and goes on when there is room", async () => {
    const hypervisor = new FakeHypervisor();
    const clock = new ManualClock();
    let free = 2 ** 40;
    await using pod = await testpod(
      { hypervisor, clock, freeSpace: async () => free },
      { cvm: { min_free_disk_mb: 512 } },
    );
    const { id } = await pod.client.createVm(vmRequest());
    const vm = hypervisor.vm(id);
    vm.pause = { cause: "disk_full", sentence: "the host's disk is full" };
    free = 100 * 2 ** 20;
    clock.advance(1_000);
    expect(await only(pod.client)).toMatchObject({ status: "paused", notice: "the host's disk is full" });
    expect(vm.resumed).toBe(0);
    free = 2 ** 30;
    await passes(clock, "going on", () => vm.resumed > 0);
    expect((await reaches(pod.client, "running")).notice).toBeUndefined();

    vm.pause = { cause: "other", sentence: "the guest has put itself to sleep" };
    clock.advance(1_000);
    expect((await only(pod.client)).status).toBe("paused");
    await pod.client.stopVm({ id }); // as one that runs
    expect((await only(pod.client)).status).toBe("stopped");
    expect(vm.resumed).toBe(1);
  });

  it("a serial log that grows too long is rotated while the VM runs", async () => {
    const hypervisor = new FakeHypervisor();
    const clock = new ManualClock();
    await using pod = await testpod(
      { hypervisor, clock },
      { config: { log: { max_bytes: 1024, backups: 1 } } },
    );
    const { id } = await pod.client.createVm(vmRequest());
    await hypervisor.vm(id).print("x".repeat(5000));
    await eventually(
      "the rotation",
      () => {
        clock.advance(1_000);
        return readdir(join(pod.site.runPath, id));
      },
      (names) => names.includes("serial.log.1"),
    );
    expect((await stat(join(pod.site.runPath, id, "serial.log"))).size).toBe(0);
  });
});

describe("creating", () => {
  it("T4: a VM that cannot be started is not there", async () => {
    const hypervisor = new FakeHypervisor();
    await using pod = await testpod({ hypervisor });
    hypervisor.failNext = "QEMU did not start: no memory";
    await expect(pod.client.createVm(vmRequest())).rejects.toThrow("QEMU did not start: no memory");
    expect(await readdir(pod.site.runPath)).toEqual(AUDIT);
    expect((await pod.client.status()).vms).toEqual([]);
  });

  it("T1: a VM whose image has vanished is kept, and says so when it is started", async () => {
    await using pod = await testpod({ hypervisor: new FakeHypervisor() });
    const { id } = await pod.client.createVm(vmRequest());
    await pod.client.stopVm({ id });
    await rename(join(pod.site.images, "tiny-0.0.1"), join(pod.site.dir, "elsewhere"));
    await expect(pod.client.startVm({ id })).rejects.toMatchObject({
      code: "bad_request",
      message: "its image tiny-0.0.1 cannot be used: there is no image of that name; there are none",
    });
    expect(await only(pod.client)).toMatchObject({ id, status: "stopped" });
    await rename(join(pod.site.dir, "elsewhere"), join(pod.site.images, "tiny-0.0.1"));
    await pod.client.startVm({ id });
    expect(await only(pod.client)).toMatchObject({ status: "running" });
  });

  it("T1: an image that is not in the listing is refused", async () => {
    await using pod = await testpod({ hypervisor: new FakeHypervisor() });
    await expect(pod.client.createVm(vmRequest({ image: "../images/tiny-0.0.1" }))).rejects.toMatchObject({
      code: "bad_request",
      message: "there is no image of that name; there are tiny-0.0.1",
    });
    expect((await pod.client.listImages()).images).toMatchObject([
      { name: "tiny-0.0.1", description: "version 0.0.1, production" },
    ]);
  });

  it("a full disk gives one clear sentence and nothing half-made", async () => {
    let free = 10 * 2 ** 20;
    await using pod = await testpod(
      { hypervisor: new FakeHypervisor(), freeSpace: async () => free },
      { cvm: { min_free_disk_mb: 512 } },
    );
    await expect(pod.client.createVm(vmRequest())).rejects.toMatchObject({
      code: "unavailable",
      message: "the host's disk is full: 10 MB are free and 512 MB must stay free",
    });
    expect(await readdir(pod.site.runPath)).toEqual(AUDIT);
    free = 2 ** 40;
    const { id } = await pod.client.createVm(vmRequest());
    await pod.client.stopVm({ id });
    free = 0;
    await expect(pod.client.startVm({ id })).rejects.toThrow("the host's disk is full");
    await pod.client.removeVm({ id });
  });

  it("vsock context ids are not given twice and run out with a clear message", async () => {
    const hypervisor = new FakeHypervisor();
    await using pod = await testpod({ hypervisor }, { cvm: { cid_start: 2000, cid_pool_size: 2 } });
    const first = await pod.client.createVm(vmRequest());
    await pod.client.createVm(vmRequest());
    await expect(pod.client.createVm(vmRequest())).rejects.toThrow(
      "all 2 vsock context ids of this host are taken",
    );
    await pod.client.stopVm(first);
    await pod.client.removeVm(first);
    await pod.client.createVm(vmRequest());
    expect(hypervisor.launches.map((launch) => launch.cid)).toEqual([2000, 2001, 2000]);
  });

  it("T5: a host port belongs to one VM, stopped ones included", async () => {
    const hypervisor = new FakeHypervisor();
    const free = createServer();
    await new Promise<void>((resolve) => free.listen(0, "127.0.0.1", resolve));
    const { port } = free.address() as AddressInfo;
    await using pod = await testpod(
      { hypervisor },
      {
        config: {
          port_mapping: { enabled: true, ranges: [{ protocol: "tcp", from: port, to: port }] },
        },
      },
    );
    const request = vmRequest({ ports: [{ protocol: "tcp", hostPort: port, vmPort: 80 }] });
    await expect(pod.client.createVm(request)).rejects.toMatchObject({
      code: "conflict",
      message: `tcp port ${port} of this host is in use by another program`,
    });
    await new Promise<void>((resolve) => free.close(() => resolve()));
    const [first, second] = await Promise.allSettled([
      pod.client.createVm(request),
      pod.client.createVm(vmRequest({ ...request, name: "second" })),
    ]);
    const results = [first, second].map((result) => result.status).sort();
    expect(results).toEqual(["fulfilled", "rejected"]);
    const vm = await only(pod.client);
    await pod.client.stopVm({ id: vm.id });
    await expect(pod.client.createVm(request)).rejects.toThrow(`tcp port ${port} belongs to the VM`);
    expect(hypervisor.launches[0]?.ports).toEqual([{ protocol: "tcp", hostPort: port, vmPort: 80 }]);

    // Taken by a program while the VM was stopped: refused before anything is started.
    const taken = createServer();
    await new Promise<void>((resolve) => taken.listen(port, "127.0.0.1", resolve));
    await expect(pod.client.startVm({ id: vm.id })).rejects.toMatchObject({ code: "conflict" });
    expect(hypervisor.launches).toHaveLength(1);
    await new Promise<void>((resolve) => taken.close(() => resolve()));
  });
});

describe("changing", () => {
  it("K7: a document that allows no variable is given none, and the bundle is there again for one that does", async () => {
    await using pod = await testpod({ hypervisor: new FakeHypervisor() });
    const env = new Uint8Array(60).fill(1);
    const { id } = await pod.client.createVm(vmRequest({ encryptedEnv: env }));
    const given = (): Promise<Uint8Array | undefined> =>
      readFile(join(pod.site.runPath, id, "shared", "encrypted-env")).catch(() => undefined);
    const { allowed_envs: _, ...others } = JSON.parse(COMPOSE) as Record<string, unknown>;
    const bundles = [];
    for (const composeFile of [JSON.stringify(others), COMPOSE]) {
      await pod.client.upgradeApp({ id, composeFile });
      await pod.client.stopVm({ id });
      await pod.client.startVm({ id });
      bundles.push(await given());
    }
    expect(bundles).toEqual([undefined, Buffer.from(env)]);
  });

  it("an upgrade answers the new id, keeps app id and disk, and applies with stop and start", async () => {
    const hypervisor = new FakeHypervisor();
    await using pod = await testpod({ hypervisor });
    const env = new Uint8Array(60).fill(1);
    const { id } = await pod.client.createVm(vmRequest({ encryptedEnv: env }));
    const dir = join(pod.site.runPath, id);
    const shared = (name: string): Promise<string> => readFile(join(dir, "shared", name), "utf8");
    const { ino } = await stat(join(dir, "hda.img"));

    const answer = await pod.client.upgradeApp({ id, composeFile: COMPOSE_2 });
    expect(answer.id).toBe(appIdOfCompose(utf8(COMPOSE_2)));
    expect(await shared("app-compose.json")).toBe(COMPOSE);
    await pod.client.stopVm({ id });
    await pod.client.startVm({ id });
    expect(await shared("app-compose.json")).toBe(COMPOSE_2);
    expect((await only(pod.client)).appId).toBe(appIdOfCompose(utf8(COMPOSE)));
    expect((await stat(join(dir, "hda.img"))).ino).toBe(ino);
    expect(await readFile(join(dir, "shared", "encrypted-env"))).toEqual(Buffer.from(env));
    // The guest has not said anything yet; it learns the app it belongs to from the host's hint.
    expect(JSON.parse(await shared(".instance_info"))).toEqual({
      bootstrapped: false,
      instance_id: "",
      app_id: appIdOfCompose(utf8(COMPOSE)),
    });
    await expect(pod.client.upgradeApp({ id, composeFile: "services: {}" })).rejects.toMatchObject({
      code: "bad_request",
    });
  });

  it("a second instance of an upgraded app is told its app id", async () => {
    await using pod = await testpod({ hypervisor: new FakeHypervisor() });
    const appId = appIdOfCompose(utf8(COMPOSE));
    const { id } = await pod.client.createVm(vmRequest({ composeFile: COMPOSE_2, appId }));
    const info = await readFile(join(pod.site.runPath, id, "shared", ".instance_info"), "utf8");
    expect(JSON.parse(info)).toMatchObject({ app_id: appId });
    expect(await only(pod.client)).toMatchObject({ appId, configuration: { appId } });
  });

  it("a resize needs a stopped VM, and disks only grow", async () => {
    const hypervisor = new FakeHypervisor();
    await using pod = await testpod({ hypervisor }, { cvm: { max_disk_size: 4 } });
    const { id } = await pod.client.createVm(vmRequest({ diskSize: 2 }));
    await expect(pod.client.resizeVm({ id, vcpu: 2 })).rejects.toMatchObject({ code: "conflict" });
    await pod.client.stopVm({ id });
    await pod.client.resizeVm({ id, vcpu: 2, memory: 128, diskSize: 3 });
    await pod.client.resizeVm({ id, memory: 256 });
    await expect(pod.client.resizeVm({ id, diskSize: 1 })).rejects.toThrow(
      "a disk cannot shrink: it has 3 GB",
    );
    await expect(pod.client.resizeVm({ id, diskSize: 5 })).rejects.toThrow(
      "disk_size must be between 1 and 4 GB",
    );
    await expect(pod.client.resizeVm({ id, vcpu: 0 })).rejects.toMatchObject({ code: "bad_request" });
    expect((await stat(join(pod.site.runPath, id, "hda.img"))).size).toBe(3 * 2 ** 30);
    await pod.client.startVm({ id });
    expect(hypervisor.launches.at(-1)).toMatchObject({ vcpu: 2, memoryMb: 256 });
  });
});

describe("a teepod that is started again", () => {
  it("takes up the VMs that run and notes the ones that ended", async () => {
    await using stack = new ResourceStack();
    const site = stack.use(await Site.make());
    const hypervisor = new FakeHypervisor();
    let ids: string[] = [];
    {
      await using pod = await site.start(site.config(), { hypervisor });
      for (const name of ["keeps", "dies", "stops", "stopped"]) {
        ids.push((await client(pod).createVm(vmRequest({ name }))).id);
      }
      await client(pod).shutdownVm({ id: ids[2] ?? "" });
      await client(pod).stopVm({ id: ids[3] ?? "" });
    }
    const [keeps = "", dies = "", stops = ""] = ids;
    expect(hypervisor.vm(keeps).detached).toBe(true);
    await hypervisor.vm(dies).progress("kms", "error", "no answer");
    hypervisor.vm(dies).end({ code: 1 });
    hypervisor.vm(stops).end({ code: 0 });

    await using pod = await site.start(site.config(), { hypervisor });
    const { vms } = await client(pod).status();
    expect(vms.map((vm) => [vm.name, vm.status, vm.bootError])).toEqual([
      ["keeps", "running", undefined],
      ["dies", "exited", "kms: no answer"],
      ["stops", "stopped", undefined],
      ["stopped", "stopped", undefined],
    ]);
    hypervisor.vm(keeps).end({ code: 0 });
    await eventually(
      "the end of the VM",
      async () => (await client(pod).getInfo({ id: keeps })).info?.status,
      (status) => status === "exited",
    );
  });

  it("goes on waiting for a VM that was shutting down", async () => {
    await using stack = new ResourceStack();
    const site = stack.use(await Site.make());
    const hypervisor = new FakeHypervisor();
    const clock = new ManualClock();
    let id: string;
    {
      await using pod = await site.start(site.config(), { hypervisor, clock });
      id = (await client(pod).createVm(vmRequest())).id;
      await client(pod).shutdownVm({ id });
    }
    const vm = hypervisor.vm(id);
    clock.advance(59_000);
    await using pod = await site.start(site.config(), { hypervisor, clock });
    expect((await only(client(pod))).status).toBe("stopping");
    expect(vm.killed).toBe(false);
    clock.advance(1_000);
    await reaches(client(pod), "stopped");
    expect(vm.killed).toBe(true);
  });

  it("is alone on its directory", async () => {
    await using pod = await testpod({ hypervisor: new FakeHypervisor() });
    await expect(pod.site.start(pod.site.config(), { hypervisor: new FakeHypervisor() })).rejects.toThrow(
      "another teepod already uses",
    );
  });
});

describe("simulated platform", () => {
  it("E10: only a development image gets simulator.json, with the measurements of the files that are started", async () => {
    await using stack = new ResourceStack();
    const site = stack.use(await Site.make());
    await writeImage(site.images, "tiny-0.0.1-dev", { isDev: true });
    const seed = "5a".repeat(32);
    await writeFile(join(site.dir, "seed"), `${seed}\n`);
    const config = site.config({}, { simulator_seed_file: join(site.dir, "seed") });
    await using pod = await site.start(config, { hypervisor: new FakeHypervisor() });
    const production = await client(pod).createVm(vmRequest());
    const development = await client(pod).createVm(vmRequest({ image: "tiny-0.0.1-dev" }));
    const path = (id: string): string => join(site.runPath, id, "shared", "simulator.json");
    await expect(stat(path(production.id))).rejects.toMatchObject({ code: "ENOENT" });
    expect((await stat(path(development.id))).mode & 0o777).toBe(0o600);
    const read = async () =>
      JSON.parse(await readFile(path(development.id), "utf8")) as { seed: string; launch: { rtmr1: string } };
    const first = await read();
    expect(first.seed).toBe(seed);
    expect(first.launch.rtmr1).toMatch(/^[0-9a-f]{96}$/);

    await client(pod).stopVm(development);
    await writeImage(site.images, "tiny-0.0.1-dev", { isDev: true, text: "another kernel\n" });
    await client(pod).startVm(development);
    expect((await read()).launch.rtmr1).not.toBe(first.launch.rtmr1);
  });

  it("G6: only a development image gets authorized_keys, as the file is when the VM starts", async () => {
    await using stack = new ResourceStack();
    const site = stack.use(await Site.make());
    await writeImage(site.images, "tiny-0.0.1-dev", { isDev: true });
    const file = join(site.dir, "authorized_keys");
    const config = site.config({}, { authorized_keys_file: file });
    await using pod = await site.start(config, { hypervisor: new FakeHypervisor() });
    const development = await client(pod).createVm(vmRequest({ image: "tiny-0.0.1-dev" }));
    const shared = (id: string): string => join(site.runPath, id, "shared");
    expect(await readdir(shared(development.id))).not.toContain("authorized_keys");

    await writeFile(file, "ssh-ed25519 AAAA me\n");
    await client(pod).stopVm(development);
    await client(pod).startVm(development);
    expect(await readFile(join(shared(development.id), "authorized_keys"), "utf8")).toContain("AAAA");
    const production = await client(pod).createVm(vmRequest());
    expect(await readdir(shared(production.id))).not.toContain("authorized_keys");
  });

  it("nobody gets it without a seed", async () => {
    await using stack = new ResourceStack();
    const site = stack.use(await Site.make());
    await writeImage(site.images, "tiny-0.0.1-dev", { isDev: true });
    await using pod = await site.start(site.config(), { hypervisor: new FakeHypervisor() });
    const { id } = await client(pod).createVm(vmRequest({ image: "tiny-0.0.1-dev" }));
    expect(await readdir(join(site.runPath, id, "shared"))).not.toContain("simulator.json");
  });
});
