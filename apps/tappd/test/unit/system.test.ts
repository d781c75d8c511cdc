import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parseMounts, parseOsRelease } from "../../src/system/proc.js";
import { readSystemInfo } from "../../src/system/system-info.js";

let dir: string;
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "tappd-proc-"));
});
afterAll(() => rm(dir, { recursive: true, force: true }));

async function machine(
  name: string,
  files: Record<string, string>,
): Promise<{ proc: string; osRelease: string }> {
  const root = join(dir, name);
  await mkdir(root, { recursive: true });
  for (const [path, text] of Object.entries(files)) {
    await mkdir(dirname(join(root, path)), { recursive: true });
    await writeFile(join(root, path), text);
  }
  return { proc: join(root, "proc"), osRelease: join(root, "os-release") };
}

describe("system information", () => {
  it("is what the kernel and the image say", async () => {
    const paths = await machine("vm", {
      "proc/meminfo":
        "MemTotal: 2048 kB\nMemFree: 100 kB\nMemAvailable: 500 kB\nSwapTotal: 10 kB\nSwapFree: 4 kB\nHugePages_Total: 7\n",
      "proc/cpuinfo":
        "processor\t: 0\nmodel name\t: QEMU Virtual CPU\n\nprocessor\t: 1\nmodel name\t: QEMU Virtual CPU\n",
      "proc/loadavg": "0.25 1.50 12.34 1/100 4242\n",
      "proc/uptime": "321.99 640.00\n",
      "proc/sys/kernel/osrelease": "6.12.1-amd64\n",
      "proc/self/mounts": `/dev/vda / squashfs ro 0 0\ntmpfs /run tmpfs rw 0 0\n/dev/gone ${dir}/not/there ext4 rw 0 0\n`,
      "os-release": 'NAME="dstack"\nVERSION_ID=0.1.0\n',
    });
    const { disks, ...info } = await readSystemInfo(paths);
    expect(info).toEqual({
      osName: "dstack",
      osVersion: "0.1.0",
      kernelVersion: "6.12.1-amd64",
      cpuModel: "QEMU Virtual CPU",
      numCpus: 2,
      totalMemory: 2048n * 1024n,
      availableMemory: 500n * 1024n,
      usedMemory: 1548n * 1024n,
      freeMemory: 100n * 1024n,
      totalSwap: 10n * 1024n,
      usedSwap: 6n * 1024n,
      freeSwap: 4n * 1024n,
      uptime: 321n,
      loadavgOne: 25,
      loadavgFive: 150,
      loadavgFifteen: 1234,
    });
    expect(disks).toMatchObject([{ name: "/dev/vda", mountPoint: "/" }]);
    expect(disks?.[0]?.totalSize).toBeGreaterThan(0n);
  });

  it("leaves empty what a machine does not say", async () => {
    const info = await readSystemInfo(await machine("bare", {}));
    expect(info).toMatchObject({
      osName: "",
      numCpus: 0,
      totalMemory: 0n,
      uptime: 0n,
      loadavgOne: 0,
      disks: [],
    });
  });
});

describe("parsing", () => {
  it("unescapes mount points and counts a device once", () => {
    const mounts =
      "/dev/sda1 /data\\040disk ext4 rw 0 0\n/dev/sda1 /again ext4 rw 0 0\nproc /proc proc rw 0 0\n";
    expect(parseMounts(mounts)).toEqual([{ device: "/dev/sda1", mountPoint: "/data disk" }]);
  });

  it("takes quotes off os-release", () => {
    expect(parseOsRelease(`A='x y'\nB="say \\"hi\\""\nC=plain\n# comment\n`)).toEqual(
      new Map([
        ["A", "x y"],
        ["B", 'say "hi"'],
        ["C", "plain"],
      ]),
    );
  });
});
