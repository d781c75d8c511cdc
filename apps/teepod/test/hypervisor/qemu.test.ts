import { chmod, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parseVmId } from "@dstack/core";
import { silentLogger } from "@dstack/daemon";
import { QemuHypervisor } from "../../src/hypervisor/qemu.js";
import type { VmLaunch } from "../../src/hypervisor/hypervisor.js";
import { eventually } from "../helpers/eventually.js";

/** A program in QEMU's place: a monitor that does what a test needs a broken QEMU to do. */
const STAND_IN = `
import { createServer } from "node:net";
const deaf = MODE === "deaf";
let status = { broken: "internal-error", full: "io-error", asleep: "suspended" }[MODE] ?? "running";
createServer((socket) => {
  socket.on("error", () => {});
  socket.write('{"QMP": {}}\\n');
  let rest = "";
  socket.setEncoding("utf8").on("data", (text) => {
    rest += text;
    for (let end = rest.indexOf("\\n"); end !== -1; end = rest.indexOf("\\n")) {
      const { execute, id } = JSON.parse(rest.slice(0, end));
      rest = rest.slice(end + 1);
      if (execute === "quit" && deaf) continue;
      const result = execute === "query-status" ? { status } : {};
      socket.write(JSON.stringify({ return: result, id }) + "\\n");
      if (execute === "quit") process.exit(0);
      if (execute === "cont") {
        status = "running";
        socket.write('{"event": "RESUME"}\\n');
      }
      if (execute === "query-status" && MODE === "breaks") {
        status = "internal-error";
        socket.write('{"event": "STOP"}\\n');
      }
    }
  });
}).listen("qmp.sock");
`;

describe("QemuHypervisor, with a QEMU that misbehaves", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "teepod-standin-"));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  async function standIn(
    mode: "plain" | "broken" | "breaks" | "deaf" | "full" | "asleep",
  ): Promise<QemuHypervisor> {
    const program = join(dir, "qemu.mjs");
    await writeFile(program, `#!${process.execPath}\nconst MODE = "${mode}";\n${STAND_IN}`);
    await chmod(program, 0o755);
    return new QemuHypervisor({ qemu: program, acceleration: "tcg", qgsPort: 4050, log: silentLogger() });
  }

  function launch(): VmLaunch {
    const image = {
      name: "x",
      dir,
      version: "1",
      isDev: false,
      cmdline: "",
      rootfsHash: "",
      kernel: "k",
      initrd: "i",
      rootfs: "r",
    };
    const id = parseVmId("0d1f6c1e-8a35-4d5e-9c53-2f6a0f3f9b11");
    return { id, dir, image, vcpu: 1, memoryMb: 64, ports: [], portAddress: "127.0.0.1", cid: 3 };
  }

  for (const mode of ["breaks", "broken"] as const) {
    it(`ends a VM whose accelerator ${mode === "breaks" ? "fails" : "had failed before it was watched"}`, async () => {
      const vm = await (await standIn(mode)).start(launch());
      expect(await vm.ended).toEqual({ code: 0, reason: "the accelerator failed (KVM internal error)" });
    });
  }

  it("says that a VM stands still and why, and lets it go on", async () => {
    const vm = await (await standIn("full")).start(launch());
    expect(vm.pause).toEqual({
      cause: "disk_full",
      sentence: "the host's disk is full; the VM stands still and goes on when there is room",
    });
    await vm.resume();
    await eventually(
      "going on",
      () => vm.pause,
      (pause) => pause === undefined,
    );
    await vm.kill();
  });

  it("says that a guest sleeps", async () => {
    const vm = await (await standIn("asleep")).start(launch());
    expect(vm.pause).toEqual({ cause: "other", sentence: "the guest has put itself to sleep" });
    await vm.kill();
  });

  it("kills one that does not quit", async () => {
    const hypervisor = await standIn("deaf");
    const vm = await hypervisor.start(launch());
    await vm.kill();
    expect(await vm.ended).toEqual({ code: null });
    expect(await hypervisor.attach(launch())).toBeUndefined();
  });

  it("kills one whose monitor is gone, and says that it cannot be asked", async () => {
    const hypervisor = await standIn("plain");
    const started = await hypervisor.start(launch());
    started.detach();
    await rm(join(dir, "qmp.sock"));
    const vm = await hypervisor.attach(launch());
    if (vm === undefined) throw new Error("the VM should be found");
    await expect(vm.powerDown()).rejects.toMatchObject({ code: "not_reachable" });
    await vm.kill();
    expect(await vm.ended).toEqual({ code: null });
  });

  it("does not start a second one beside it", async () => {
    const hypervisor = await standIn("plain");
    const vm = await hypervisor.start(launch());
    await expect(hypervisor.start(launch())).rejects.toMatchObject({ code: "running" });
    await vm.kill();
  });

  it("T4: ends a process that a killed teepod left before it could record it, and starts the VM", async () => {
    const hypervisor = await standIn("plain");
    const orphan = await hypervisor.start(launch());
    await rm(join(dir, "process.json"));
    const vm = await hypervisor.start(launch());
    expect(await orphan.ended).toMatchObject({ code: null });
    await vm.kill();
  });

  it("does not take another process for it when the pid was reused", async () => {
    const hypervisor = await standIn("plain");
    const vm = await hypervisor.start(launch());
    const path = join(dir, "process.json");
    const record = JSON.parse(await readFile(path, "utf8")) as { pid: number; startTicks: number };
    await vm.kill();
    expect(record.pid).not.toBe(process.pid);
    await writeFile(path, JSON.stringify({ ...record, pid: process.pid }));
    expect(await hypervisor.attach(launch())).toBeUndefined();
  });
});
