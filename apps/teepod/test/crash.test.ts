import { readdir, rm, stat } from "node:fs/promises";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { sleep } from "@dstack/core";
import { ResourceStack } from "@dstack/daemon";
import { bundleTeepod, startChild, writeConfig } from "./helpers/program.js";
import { AUDIT, Site, client, vmRequest } from "./helpers/testpod.js";

const UUID = /^[0-9a-f-]{36}$/;
/** What a VM is made of. `shared/` and `status/` follow from it and are made anew at each start. */
const WHOLE = ["hda.img", "manifest.json", "state.json"];

// teepod as it is shipped, in a process of its own, with real QEMU; killed with -9 at different moments.
describe("kill -9 of teepod", () => {
  let program: string;
  beforeAll(async () => {
    program = await bundleTeepod();
  });
  afterAll(() => rm(dirname(program), { recursive: true, force: true }));

  async function requireWhole(site: Site): Promise<void> {
    for (const name of (await readdir(site.runPath)).filter((n) => UUID.test(n))) {
      expect(await readdir(join(site.runPath, name))).toEqual(expect.arrayContaining(WHOLE));
      expect((await stat(join(site.runPath, name, "hda.img"))).size).toBe(2 ** 30);
    }
  }

  for (const delayMs of [5, 20, 50, 120, 300]) {
    it(`T4: ${delayMs} ms into creating VMs leaves whole VMs or nothing, and no VM without an owner`, async () => {
      await using stack = new ResourceStack();
      const site = stack.use(await Site.make());
      const child = await startChild(
        program,
        await writeConfig(join(site.dir, "teepod.toml"), site.config()),
      );
      const acknowledged: string[] = [];
      const create = async (name: string): Promise<void> => {
        acknowledged.push((await client(child).createVm(vmRequest({ name }))).id);
      };
      const creates = Promise.allSettled(["a", "b", "c"].map(create));
      await sleep(delayMs);
      await child.kill();
      await creates;
      await requireWhole(site);

      await using pod = await site.start(site.config());
      const { vms } = await client(pod).status();
      const names = (await readdir(site.runPath)).filter((name) => !UUID.test(name));
      expect(names).toEqual(AUDIT);
      expect(vms.map((vm) => vm.id)).toEqual(expect.arrayContaining(acknowledged));
      for (const id of acknowledged) {
        expect(vms.find((vm) => vm.id === id)?.status, "an acknowledged VM runs on").toBe("running");
      }
      // Every process belongs to a VM that is known to run: stopping the VMs ends them all.
      for (const { id } of vms) {
        await client(pod).startVm({ id });
        await client(pod).stopVm({ id });
        await client(pod).removeVm({ id });
      }
      expect(site.processes()).toEqual([]);
      expect(await readdir(site.runPath)).toEqual(AUDIT);
    });
  }

  it("T4: in the middle of removing leaves whole VMs or nothing", async () => {
    await using stack = new ResourceStack();
    const site = stack.use(await Site.make());
    const config = await writeConfig(join(site.dir, "teepod.toml"), site.config());
    const child = await startChild(program, config);
    const ids: string[] = [];
    for (const name of ["a", "b", "c", "d"]) {
      const { id } = await client(child).createVm(vmRequest({ name }));
      await client(child).stopVm({ id });
      ids.push(id);
    }
    const removals = ids.map((id) => client(child).removeVm({ id }));
    const settled = Promise.allSettled(removals);
    await Promise.race(removals);
    await child.kill();
    const results = await settled;
    await requireWhole(site);

    await using pod = await site.start(site.config());
    const left = (await client(pod).status()).vms.map((vm) => vm.id);
    const removed = ids.filter((_, i) => results[i]?.status === "fulfilled");
    expect(removed.length).toBeGreaterThan(0);
    expect(left.filter((id) => removed.includes(id))).toEqual([]);
    expect((await readdir(site.runPath)).sort()).toEqual([...AUDIT, ...left].sort());
  });

  it("its running VMs run on, and the next teepod owns them", async () => {
    await using stack = new ResourceStack();
    const site = stack.use(await Site.make());
    const child = await startChild(program, await writeConfig(join(site.dir, "teepod.toml"), site.config()));
    const { id } = await client(child).createVm(vmRequest());
    const before = site.processes();
    expect(before).toHaveLength(1);
    await child.kill();
    await using pod = await site.start(site.config());
    expect((await client(pod).status()).vms).toMatchObject([{ id, status: "running" }]);
    expect(site.processes()).toEqual(before);
    await client(pod).stopVm({ id });
    expect(site.processes()).toEqual([]);
  });
});
