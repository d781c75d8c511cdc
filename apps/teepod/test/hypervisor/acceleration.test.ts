import { execFile } from "node:child_process";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  cachedAcceleration,
  chooseAcceleration,
  probeAccelerator,
} from "../../src/hypervisor/acceleration.js";
import type { HostFacts } from "../../src/hypervisor/acceleration.js";
import { probeDisk } from "../../src/hypervisor/probe-payload.js";

const run = promisify(execFile);

function host(facts: { kvm?: boolean; works?: boolean; tdx?: boolean; qemuTdx?: boolean }) {
  const probed: string[] = [];
  const answers: HostFacts = {
    kvmDeviceExists: async () => facts.kvm ?? true,
    tdxEnabled: async () => facts.tdx ?? true,
    qemuKnowsTdx: async () => facts.qemuTdx ?? true,
    probe: async (_qemu, acceleration) => {
      probed.push(acceleration);
      return facts.works === false ? { works: false, why: "it hung" } : { works: true };
    },
  };
  return { answers, probed };
}

describe("choosing the acceleration", () => {
  it("takes TDX where everything is there", async () => {
    expect((await chooseAcceleration("qemu", host({}).answers)).acceleration).toBe("tdx");
  });
  it("takes KVM without TDX", async () => {
    expect((await chooseAcceleration("qemu", host({ tdx: false }).answers)).acceleration).toBe("kvm");
  });
  it("takes KVM when QEMU does not know TDX", async () => {
    expect((await chooseAcceleration("qemu", host({ qemuTdx: false }).answers)).acceleration).toBe("kvm");
  });
  it("emulates when /dev/kvm exists but the payload does not come through, and says why", async () => {
    const choice = await chooseAcceleration("qemu", host({ works: false }).answers);
    expect(choice).toEqual({
      acceleration: "tcg",
      reason: "KVM does not work here, so VMs are emulated: it hung",
    });
  });
  it("emulates without probing where there is no /dev/kvm", async () => {
    const { answers, probed } = host({ kvm: false });
    expect((await chooseAcceleration("qemu", answers)).acceleration).toBe("tcg");
    expect(probed).toEqual([]);
  });
});

describe("the probe", () => {
  let dir: string;
  beforeAll(async () => {
    dir = await mkdtemp(join(tmpdir(), "teepod-accel-"));
  });
  afterAll(() => rm(dir, { recursive: true, force: true }));

  async function program(name: string, script: string): Promise<string> {
    const path = join(dir, name);
    await writeFile(path, `#!/bin/sh\n${script}\n`);
    await chmod(path, 0o755);
    return path;
  }

  it("gets its payload through emulation", async () => {
    expect(await probeAccelerator("qemu-system-x86_64", "tcg", 300_000)).toEqual({ works: true });
  });

  it("gives up on a machine that hangs", async () => {
    const qemu = await program("hangs", "echo 'KVM: error: internal' >&2; exec sleep 600");
    const result = await probeAccelerator(qemu, "kvm", 300);
    expect(result).toEqual({
      works: false,
      why: "the test payload did not come through within 0.3 s (KVM: error: internal)",
    });
  });

  it("reports what QEMU said when it ends", async () => {
    const qemu = await program("fails", "echo 'warning: odd' >&2; echo 'failed to set MSR' >&2; exit 1");
    expect(await probeAccelerator(qemu, "kvm")).toEqual({ works: false, why: "failed to set MSR" });
  });

  it("reports a QEMU that is not there", async () => {
    const result = await probeAccelerator(join(dir, "nothing"), "kvm");
    expect(result).toMatchObject({ works: false });
  });

  it("is done once per boot of the host and QEMU, and again when asked", async () => {
    const cache = join(dir, "cache.json");
    const { answers, probed } = host({ works: false });
    for (let i = 0; i < 3; i++) await cachedAcceleration("/usr/bin/true", cache, { host: answers });
    expect(probed).toEqual(["kvm"]);
    await cachedAcceleration("/usr/bin/true", cache, { host: answers, fresh: true });
    expect(probed).toEqual(["kvm", "kvm"]);
    await cachedAcceleration("/usr/bin/false", cache, { host: answers });
    expect(probed).toEqual(["kvm", "kvm", "kvm"]);
  });

  it("probes again when the cache is no answer", async () => {
    const cache = join(dir, "broken.json");
    await writeFile(cache, '{"key":');
    const { answers } = host({});
    expect((await cachedAcceleration("/usr/bin/true", cache, { host: answers })).acceleration).toBe("tdx");
  });

  it("has the payload that its source gives", async (context) => {
    const build = join(import.meta.dirname, "../../probe/build.sh");
    const assembler = await run("as", ["--version"]).catch(() => undefined);
    if (assembler === undefined) return context.skip("there is no assembler `as` here");
    const { stdout } = await run(build);
    expect(Buffer.from(probeDisk().subarray(0, 512)).toString("hex")).toBe(stdout.trim());
  });
});
