/** Values of `/proc/meminfo` in bytes, by name. */
export function parseMeminfo(text: string): ReadonlyMap<string, number> {
  const values = new Map<string, number>();
  for (const [, name, kib] of text.matchAll(/^([^:\s]+):\s+(\d+) kB$/gm)) {
    if (name !== undefined) values.set(name, Number(kib) * 1024);
  }
  return values;
}

/** The assignments of `os-release(5)`, quotes removed. */
export function parseOsRelease(text: string): ReadonlyMap<string, string> {
  const values = new Map<string, string>();
  for (const [, name, value] of text.matchAll(/^([A-Z0-9_]+)=(.*)$/gm)) {
    if (name === undefined || value === undefined) continue;
    values.set(name, value.replace(/^(["'])(.*)\1$/, "$2").replace(/\\(["'$`\\])/g, "$1"));
  }
  return values;
}

/** Name of the first processor and number of processors, from `/proc/cpuinfo`. */
export function parseCpuinfo(text: string): { model: string; count: number } {
  return {
    model: /^model name\s*:\s*(.*)$/m.exec(text)?.[1]?.trim() ?? "",
    count: (text.match(/^processor\s*:/gm) ?? []).length,
  };
}

/** Load averages of 1, 5 and 15 minutes times 100, from `/proc/loadavg`. */
export function parseLoadavg(text: string): readonly [number, number, number] {
  const [one, five, fifteen] = text.split(" ").map((load) => Math.round(Number.parseFloat(load) * 100));
  return [one || 0, five || 0, fifteen || 0]; // NaN where the text is no number
}

/** Seconds since boot, from `/proc/uptime`. */
export function parseUptime(text: string): number {
  return Math.floor(Number.parseFloat(text)) || 0;
}

/** File systems on block devices, from `/proc/self/mounts`; each device once, at its first mount point. */
export function parseMounts(text: string): { device: string; mountPoint: string }[] {
  const seen = new Map<string, string>();
  for (const line of text.split("\n")) {
    const [device, mountPoint] = line.split(" ").map(unescapeMount);
    if (device === undefined || mountPoint === undefined || !device.startsWith("/dev/")) continue;
    if (!seen.has(device)) seen.set(device, mountPoint);
  }
  return [...seen].map(([device, mountPoint]) => ({ device, mountPoint }));
}

/** `getmntent(3)`: space, tab, newline and backslash are written in octal. */
function unescapeMount(field: string): string {
  return field.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));
}

/** Time of all processors together since boot, in clock ticks. */
export interface CpuTimes {
  readonly busy: number;
  readonly total: number;
}

/** The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal (guests are within user). */
export function parseCpuTimes(text: string): CpuTimes | undefined {
  const times = /^cpu +([\d ]+)$/m.exec(text)?.[1]?.split(" ").slice(0, 8).map(Number);
  if (times === undefined || times.length < 5) return undefined;
  const total = times.reduce((sum, ticks) => sum + ticks, 0);
  return { total, busy: total - (times[3] ?? 0) - (times[4] ?? 0) };
}
