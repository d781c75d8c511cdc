import { html } from "@dstack/daemon";
import type { Html } from "@dstack/daemon";
import type { SystemHistory } from "../system/history.js";
import type { SystemInfo } from "../system/system-info.js";
import { chart } from "./chart.js";
import { entry, formatBytes, formatDuration } from "./format.js";
import { refreshLinks } from "./refresh.js";

/** What the machine is and how loaded it is, now and over the last minutes. */
export function systemPage(info: SystemInfo, history: SystemHistory, refresh: number | undefined): Html {
  return html`${refreshLinks("/system", refresh)}
    <section aria-labelledby="load">
      <h2 id="load">Last minutes</h2>
      <div class="charts">${charts(history, info.numCpus ?? 1)}</div>
    </section>
    <section aria-labelledby="machine">
      <h2 id="machine">Machine</h2>
      <dl>
        ${entry("System", `${info.osName ?? ""} ${info.osVersion ?? ""}`.trim())}
        ${entry("Kernel", info.kernelVersion ?? "")}
        ${entry("Processor", `${info.numCpus ?? 0} × ${info.cpuModel ?? ""}`)}
        ${entry("Uptime", formatDuration(Number(info.uptime ?? 0n)))} ${entry("Load", loads(info))}
        ${entry("Memory", usage("Memory in use", info.usedMemory, info.totalMemory))}
        ${entry("Swap", info.totalSwap === 0n ? "none" : usage("Swap in use", info.usedSwap, info.totalSwap))}
      </dl>
    </section>
    <section aria-labelledby="disks">
      <h2 id="disks">Disks</h2>
      ${disks(info)}
    </section>`;
}

function charts(history: SystemHistory, cpus: number): Html[] {
  const { samples, spanMs } = history;
  const percent = (value: number): string => `${Math.round(value * 100)} %`;
  const line = (value: "cpu" | "memory" | "load"): { at: number; value: number }[] =>
    samples.map((sample) => ({ at: sample.at, value: sample[value] }));
  const load = line("load");
  const top = Math.max(cpus, Math.ceil(Math.max(0, ...load.map(({ value }) => value))));
  return [
    chart({ title: "Processor", points: line("cpu"), spanMs, max: 1, format: percent }),
    chart({ title: "Memory", points: line("memory"), spanMs, max: 1, format: percent }),
    chart({ title: "Load", points: load, spanMs, max: top, format: (value) => value.toFixed(2) }),
  ];
}

function loads({ loadavgOne = 0, loadavgFive = 0, loadavgFifteen = 0 }: SystemInfo): string {
  const [one, five, fifteen] = [loadavgOne, loadavgFive, loadavgFifteen].map((load) =>
    (load / 100).toFixed(2),
  );
  return `${one} over 1 minute, ${five} over 5, ${fifteen} over 15`;
}

function usage(label: string, used: bigint | undefined, total: bigint | undefined): Html {
  return html`${formatBytes(used)} of ${formatBytes(total)} used
    <meter
      min="0"
      max="${total === 0n ? 1 : Number(total ?? 1n)}"
      value="${Number(used ?? 0n)}"
      aria-label="${label}"
    ></meter>`;
}

function disks({ disks: listed = [] }: SystemInfo): Html {
  if (listed.length === 0) return html`<p class="empty">No disk is mounted.</p>`;
  const entries = listed.map(({ name = "", mountPoint = "", totalSize = 0n, freeSize = 0n }) =>
    entry(
      mountPoint,
      html`${usage(`${mountPoint} in use`, totalSize - freeSize, totalSize)}
        <code class="quiet">${name}</code>`,
    ),
  );
  return html`<dl>${entries}</dl>`;
}
