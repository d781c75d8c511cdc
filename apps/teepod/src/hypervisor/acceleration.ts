import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { TimeoutError, errorMessage, withDeadline, writeFileAtomic } from "@dstack/core";
import { hostBootId } from "@dstack/daemon";
import { z } from "zod";
import { PROBE_TEXT, probeDisk } from "./probe-payload.js";
import type { Acceleration } from "./qemu-args.js";

/** Which acceleration this host gives, and why not a better one. */
export interface AccelerationChoice {
  readonly acceleration: Acceleration;
  /** One sentence for the operator. */
  readonly reason: string;
}

/** A working accelerator answers in well under a second; a loaded host gets some patience. */
const PROBE_LIMIT_MS = 10_000;

/** What a probe of one accelerator found. */
export type ProbeResult = { readonly works: true } | { readonly works: false; readonly why: string };

/** The argument list of the probe: the VMs' machine and CPU, nothing but a boot disk and a serial port on stdout. */
export function probeArgs(acceleration: "kvm" | "tcg", disk: string): string[] {
  const cpu =
    acceleration === "kvm"
      ? ["-accel", "kvm", "-cpu", "host", "-machine", "q35,kernel-irqchip=split,hpet=off"]
      : ["-accel", "tcg", "-cpu", "qemu64", "-machine", "q35,hpet=off"];
  return [
    ...["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none"],
    ...cpu,
    ...["-m", "64M"],
    ...["-chardev", "stdio,id=out,signal=off", "-serial", "chardev:out"],
    ...["-drive", `file=${disk.replaceAll(",", ",,")},if=none,id=boot,format=raw,readonly=on`],
    ...["-device", "virtio-blk-pci,drive=boot"],
  ];
}

/**
 * Boots the probe's payload. The existence of /dev/kvm says nothing: nested and emulated KVMs exist that get
 * through firmware and hang in the first kernel.
 */
export async function probeAccelerator(
  qemu: string,
  acceleration: "kvm" | "tcg",
  limitMs = PROBE_LIMIT_MS,
): Promise<ProbeResult> {
  const dir = await mkdtemp(join(tmpdir(), "teepod-probe-"));
  const disk = join(dir, "boot.img");
  await writeFile(disk, probeDisk());
  const child = spawn(qemu, probeArgs(acceleration, disk), {
    stdio: ["ignore", "pipe", "pipe"],
    env: { PATH: process.env["PATH"] ?? "" },
  });
  let errors = "";
  child.stderr.setEncoding("utf8").on("data", (text: string) => {
    errors = (errors + text).slice(0, 4096);
  });
  const gone = new Promise<void>((resolve) => {
    child.once("close", () => resolve());
    child.once("error", () => resolve());
  });
  const result = new Promise<ProbeResult>((resolve) => {
    let seen = "";
    child.stdout.setEncoding("latin1").on("data", (text: string) => {
      seen = (seen + text).slice(-4096);
      if (seen.includes(PROBE_TEXT)) resolve({ works: true });
    });
    child.once("error", (err) => resolve({ works: false, why: `cannot run ${qemu}: ${err.message}` }));
    child.once("close", () => {
      const line = errors.split("\n").find((text) => !text.includes("warning:")) ?? "";
      resolve({ works: false, why: line.trim() || "QEMU ended without a word" });
    });
  });
  try {
    return await withDeadline("the probe", limitMs, () => result);
  } catch (err) {
    if (!(err instanceof TimeoutError)) throw err;
    const line = errors.split("\n").find((text) => /error/i.test(text)) ?? "";
    const detail = line === "" ? "" : ` (${line.trim()})`;
    return { works: false, why: `the test payload did not come through within ${limitMs / 1000} s${detail}` };
  } finally {
    child.kill("SIGKILL");
    await gone;
    await rm(dir, { recursive: true, force: true });
  }
}

/** What the host says about itself; a test gives other answers. */
export interface HostFacts {
  /** The host kernel's KVM can run trust domains. */
  tdxEnabled(): Promise<boolean>;
  /** This QEMU knows the `tdx-guest` object. */
  qemuKnowsTdx(qemu: string): Promise<boolean>;
  kvmDeviceExists(): Promise<boolean>;
  probe(qemu: string, acceleration: "kvm" | "tcg"): Promise<ProbeResult>;
}

async function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false,
  );
}

async function qemuObjects(qemu: string): Promise<string> {
  const child = spawn(qemu, ["-object", "help"], { stdio: ["ignore", "pipe", "ignore"] });
  let text = "";
  child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
    text = (text + chunk).slice(0, 65_536);
  });
  await new Promise<void>((resolve) => {
    child.once("close", () => resolve());
    child.once("error", () => resolve());
  });
  return text;
}

export const linuxHost: HostFacts = {
  tdxEnabled: async () => {
    const text = await readFile("/sys/module/kvm_intel/parameters/tdx", "utf8").catch(() => "N");
    return text.trim() === "Y" || text.trim() === "1";
  },
  qemuKnowsTdx: async (qemu) => (await qemuObjects(qemu)).includes("tdx-guest"),
  kvmDeviceExists: () => exists("/dev/kvm"),
  probe: (qemu, acceleration) => probeAccelerator(qemu, acceleration),
};

/** Looks for the best acceleration: TDX, else KVM if a payload boots under it, else emulation. */
export async function chooseAcceleration(
  qemu: string,
  host: HostFacts = linuxHost,
): Promise<AccelerationChoice> {
  if (!(await host.kvmDeviceExists())) {
    return { acceleration: "tcg", reason: "there is no /dev/kvm, so VMs are emulated" };
  }
  const kvm = await host.probe(qemu, "kvm");
  if (!kvm.works) {
    return { acceleration: "tcg", reason: `KVM does not work here, so VMs are emulated: ${kvm.why}` };
  }
  if (!(await host.tdxEnabled())) {
    return {
      acceleration: "kvm",
      reason: "KVM works; the host's KVM has TDX switched off or does not have it",
    };
  }
  if (!(await host.qemuKnowsTdx(qemu))) {
    return { acceleration: "kvm", reason: "KVM works; this QEMU has no tdx-guest object (it needs 10.1)" };
  }
  return { acceleration: "tdx", reason: "the host's KVM and QEMU can run trust domains" };
}

const CachedChoice = z.object({
  key: z.string(),
  acceleration: z.enum(["tdx", "kvm", "tcg"]),
  reason: z.string(),
});

async function cacheKey(qemu: string): Promise<string> {
  const found = await stat(qemu).catch(() => undefined);
  return `${hostBootId()} ${qemu} ${found?.mtimeMs ?? "in PATH"}`;
}

/**
 * As {@link chooseAcceleration}, with the answer kept in a file until the host boots again or QEMU is replaced.
 * @param options.fresh probes although there is an answer
 */
export async function cachedAcceleration(
  qemu: string,
  cacheFile: string,
  options: { fresh?: boolean; host?: HostFacts } = {},
): Promise<AccelerationChoice> {
  const key = await cacheKey(qemu);
  if (options.fresh !== true) {
    try {
      const cached = CachedChoice.parse(JSON.parse(await readFile(cacheFile, "utf8")));
      if (cached.key === key) return { acceleration: cached.acceleration, reason: cached.reason };
    } catch {
      // no answer yet, or not one of ours: probe
    }
  }
  const choice = await chooseAcceleration(qemu, options.host ?? linuxHost);
  await writeFileAtomic(cacheFile, JSON.stringify({ key, ...choice })).catch((err: unknown) => {
    // Without the cache every start probes; that is slower and no reason to stop.
    process.emitWarning(`cannot keep the acceleration probe's answer: ${errorMessage(err)}`);
  });
  return choice;
}
