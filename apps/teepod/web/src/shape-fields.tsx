import type { Signal } from "@preact/signals";
import { hello } from "./live.js";

/** How large a VM is. */
export interface Shape {
  readonly vcpu: number;
  /** MB */
  readonly memory: number;
  /** GB */
  readonly disk_size: number;
}

/** The three numbers, within what this host gives. */
export function ShapeFields({ shape, smallestDisk = 1 }: { shape: Signal<Shape>; smallestDisk?: number }) {
  const limits = hello.value?.host.limits;
  const field = (key: keyof Shape, label: string, min: number, max: number | undefined) => (
    <div>
      <label for={`shape-${key}`}>{label}</label>
      <input
        id={`shape-${key}`}
        type="number"
        required
        min={min}
        max={max}
        value={shape.value[key]}
        onInput={(event) => (shape.value = { ...shape.value, [key]: event.currentTarget.valueAsNumber })}
      />
    </div>
  );
  return (
    <div class="row">
      {field("vcpu", "vCPUs", 1, limits?.vcpu)}
      {field("memory", "Memory (MB)", 64, limits?.memory)}
      {field("disk_size", "Disk (GB)", smallestDisk, limits?.disk_size)}
    </div>
  );
}
