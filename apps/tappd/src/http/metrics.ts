import { Gauge, createRegistry } from "@dstack/daemon";
import type { FastifyInstance } from "fastify";
import { SYSTEM_INFORMATION, requirePublic } from "../app/public.js";
import type { TappdContext } from "../context.js";
import { readSystemInfo } from "../system/system-info.js";
import type { SystemInfo } from "../system/system-info.js";

/** The machine's state in Prometheus text. */
export class SystemMetrics {
  readonly #registry = createRegistry();
  readonly #context: Pick<TappdContext, "system">;

  readonly #uptime = this.#gauge("uptime_seconds", "Time since the VM started");
  readonly #cpus = this.#gauge("cpus", "Number of processors");
  readonly #load = this.#gauge("load1", "Load average over one minute");
  readonly #memoryTotal = this.#gauge("memory_total_bytes", "Memory of the VM");
  readonly #memoryAvailable = this.#gauge("memory_available_bytes", "Memory that programs can still get");
  readonly #swapTotal = this.#gauge("swap_total_bytes", "Swap space");
  readonly #swapFree = this.#gauge("swap_free_bytes", "Unused swap space");
  readonly #diskTotal = this.#diskGauge("disk_total_bytes", "Size of a file system");
  readonly #diskFree = this.#diskGauge("disk_free_bytes", "Free space of a file system");

  constructor(context: Pick<TappdContext, "platform" | "system">) {
    this.#context = context;
    new Gauge({
      name: "dstack_simulated_platform",
      help: "1 when quotes come from the simulated platform and prove nothing about hardware",
      registers: [this.#registry],
    }).set(context.platform === "simulated" ? 1 : 0);
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  async text(): Promise<string> {
    this.#set(await readSystemInfo(this.#context.system));
    return this.#registry.metrics();
  }

  #set(info: SystemInfo): void {
    this.#uptime.set(Number(info.uptime ?? 0n));
    this.#cpus.set(info.numCpus ?? 0);
    this.#load.set((info.loadavgOne ?? 0) / 100);
    this.#memoryTotal.set(Number(info.totalMemory ?? 0n));
    this.#memoryAvailable.set(Number(info.availableMemory ?? 0n));
    this.#swapTotal.set(Number(info.totalSwap ?? 0n));
    this.#swapFree.set(Number(info.freeSwap ?? 0n));
    this.#diskTotal.reset();
    this.#diskFree.reset();
    for (const { name = "", mountPoint = "", totalSize = 0n, freeSize = 0n } of info.disks ?? []) {
      this.#diskTotal.set({ device: name, mount_point: mountPoint }, Number(totalSize));
      this.#diskFree.set({ device: name, mount_point: mountPoint }, Number(freeSize));
    }
  }

  #gauge(name: string, help: string): Gauge {
    return new Gauge({ name: `dstack_guest_${name}`, help, registers: [this.#registry] });
  }

  #diskGauge(name: string, help: string): Gauge<"device" | "mount_point"> {
    const labelNames = ["device", "mount_point"] as const;
    return new Gauge({ name: `dstack_guest_${name}`, help, labelNames, registers: [this.#registry] });
  }
}

/** `GET /metrics`; 403 unless the app's system information is public (G8). */
export function addMetrics(app: FastifyInstance, context: TappdContext, metrics: SystemMetrics): void {
  app.get("/metrics", async (_request, reply) => {
    requirePublic(context.compose, SYSTEM_INFORMATION);
    return reply.type(metrics.contentType).send(await metrics.text());
  });
}
