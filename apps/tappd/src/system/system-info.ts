import type { MessageInitShape } from "@bufbuild/protobuf";
import { readFile, statfs } from "node:fs/promises";
import { tappd } from "@dstack/proto";
import {
  parseCpuinfo,
  parseLoadavg,
  parseMeminfo,
  parseMounts,
  parseOsRelease,
  parseUptime,
} from "./proc.js";

export type SystemInfo = MessageInitShape<typeof tappd.SystemInfoSchema>;
type DiskInfo = MessageInitShape<typeof tappd.DiskInfoSchema>;

/** Where the kernel and the image say what this machine is; tests give directories of their own. */
export interface SystemPaths {
  proc: string;
  osRelease: string;
}

export const SYSTEM_PATHS: SystemPaths = { proc: "/proc", osRelease: "/etc/os-release" };

/**
 * What this machine is and how loaded it is: sizes in bytes, uptime in seconds, load times 100. A file that is
 * missing leaves its fields empty.
 */
export async function readSystemInfo(paths: SystemPaths = SYSTEM_PATHS): Promise<SystemInfo> {
  const proc = (name: string): Promise<string> => readText(`${paths.proc}/${name}`);
  const [meminfo, cpuinfo, loadavg, uptime, release, mounts, osRelease] = await Promise.all([
    proc("meminfo"),
    proc("cpuinfo"),
    proc("loadavg"),
    proc("uptime"),
    proc("sys/kernel/osrelease"),
    proc("self/mounts"),
    readText(paths.osRelease),
  ]);
  const memory = parseMeminfo(meminfo);
  const bytes = (name: string): bigint => BigInt(memory.get(name) ?? 0);
  const os = parseOsRelease(osRelease);
  const cpu = parseCpuinfo(cpuinfo);
  const [one, five, fifteen] = parseLoadavg(loadavg);
  return {
    osName: os.get("NAME") ?? "",
    osVersion: os.get("VERSION_ID") ?? os.get("VERSION") ?? "",
    kernelVersion: release.trim(),
    cpuModel: cpu.model,
    numCpus: cpu.count,
    totalMemory: bytes("MemTotal"),
    availableMemory: bytes("MemAvailable"),
    usedMemory: bytes("MemTotal") - bytes("MemAvailable"),
    freeMemory: bytes("MemFree"),
    totalSwap: bytes("SwapTotal"),
    usedSwap: bytes("SwapTotal") - bytes("SwapFree"),
    freeSwap: bytes("SwapFree"),
    uptime: BigInt(parseUptime(uptime)),
    loadavgOne: one,
    loadavgFive: five,
    loadavgFifteen: fifteen,
    disks: await readDisks(mounts),
  };
}

async function readDisks(mounts: string): Promise<DiskInfo[]> {
  const disks = await Promise.all(
    parseMounts(mounts).map(async ({ device, mountPoint }): Promise<DiskInfo[]> => {
      try {
        const { bsize, blocks, bavail } = await statfs(mountPoint, { bigint: true });
        return [{ name: device, mountPoint, totalSize: blocks * bsize, freeSize: bavail * bsize }];
      } catch {
        return []; // unmounted since, or not ours to look at
      }
    }),
  );
  return disks.flat();
}

async function readText(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch {
    return "";
  }
}
