import { InputError } from "@dstack/core";

/** The largest VM an operator allows. */
export interface VmLimits {
  readonly maxVcpu: number;
  readonly maxMemoryMb: number;
  readonly maxDiskGb: number;
}

/** Below this not even the kernel unpacks. */
const MIN_MEMORY_MB = 64;

function requireWithin(what: string, value: number, min: number, max: number, unit: string): void {
  if (Number.isInteger(value) && value >= min && value <= max) return;
  throw new InputError(`${what} must be between ${min} and ${max}${unit}`);
}

/** @throws {InputError} */
export function requireVcpu(vcpu: number, limits: VmLimits): void {
  requireWithin("vcpu", vcpu, 1, limits.maxVcpu, "");
}

/** @throws {InputError} */
export function requireMemory(memoryMb: number, limits: VmLimits): void {
  requireWithin("memory", memoryMb, MIN_MEMORY_MB, limits.maxMemoryMb, " MB");
}

/** @throws {InputError} */
export function requireDiskSize(diskGb: number, limits: VmLimits): void {
  requireWithin("disk_size", diskGb, 1, limits.maxDiskGb, " GB");
}
