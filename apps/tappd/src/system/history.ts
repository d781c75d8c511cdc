import { readFile } from "node:fs/promises";
import { sleep } from "@dstack/core";
import { parseCpuTimes, parseLoadavg, parseMeminfo } from "./proc.js";
import type { CpuTimes } from "./proc.js";
import type { SystemPaths } from "./system-info.js";

/** How loaded the machine was at one time. */
export interface Sample {
  /** Unix milliseconds. */
  readonly at: number;
  /** Busy share of all processors since the sample before, 0 to 1. */
  readonly cpu: number;
  /** Share of the memory that programs could not get, 0 to 1. */
  readonly memory: number;
  /** Load average over one minute. */
  readonly load: number;
}

const EVERY_MS = 5_000;
const KEPT = 120;

/** The last minutes, in memory: as many samples as are kept, and no more. */
export class SystemHistory {
  readonly #paths: SystemPaths;
  readonly #everyMs: number;
  #samples: Sample[] = [];
  #before: CpuTimes | undefined;

  constructor(paths: SystemPaths, everyMs: number = EVERY_MS) {
    this.#paths = paths;
    this.#everyMs = everyMs;
  }

  /** From the oldest sample that is kept to the newest one. */
  get spanMs(): number {
    return KEPT * this.#everyMs;
  }

  /** Oldest first. */
  get samples(): readonly Sample[] {
    return this.#samples;
  }

  /** Takes samples until the signal aborts. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.take();
      await sleep(this.#everyMs, signal).catch(() => {});
    }
  }

  /** Takes one sample; the first one only begins the count of the processors' time. */
  async take(): Promise<void> {
    const { proc } = this.#paths;
    const read = (name: string): Promise<string> => readFile(`${proc}/${name}`, "utf8").catch(() => "");
    const [stat, meminfo, loadavg] = await Promise.all([read("stat"), read("meminfo"), read("loadavg")]);
    const now = parseCpuTimes(stat);
    const before = this.#before;
    this.#before = now;
    if (before === undefined || now === undefined) return;
    const memory = parseMeminfo(meminfo);
    const total = memory.get("MemTotal") ?? 0;
    const sample: Sample = {
      at: Date.now(),
      cpu: ratio(now.busy - before.busy, now.total - before.total),
      memory: ratio(total - (memory.get("MemAvailable") ?? 0), total),
      load: parseLoadavg(loadavg)[0] / 100,
    };
    this.#samples = [...this.#samples, sample].slice(-KEPT);
  }
}

function ratio(part: number, whole: number): number {
  return whole <= 0 ? 0 : Math.min(Math.max(part / whole, 0), 1);
}
