import { rm } from "node:fs/promises";
import { join } from "node:path";
import { errorMessage } from "@dstack/core";
import type { QuoteProvider } from "@dstack/tdx-attest";
import { runBoot } from "@dstack/tdxctl";
import type { Hypervisor, RunningVm, VmExit, VmLaunch } from "@dstack/teepod";
import type { FakeNetwork } from "./fake-network.js";
import { InProcessGuest } from "./in-process-guest.js";

/** FAKE. "Runs" a VM by running its guest's start-up in this process. */
export class FakeHypervisor implements Hypervisor {
  readonly description = "in-process";
  /** Guests that run, by VM id. */
  readonly guests = new Map<string, InProcessGuest>();
  readonly #running = new Map<string, RunningVm>();
  /** Where a test plays a hostile guest or host. */
  tamperProvider: ((provider: QuoteProvider) => QuoteProvider) | undefined;
  tamperCmdline: ((cmdline: string) => string) | undefined;
  /** Runs after teepod has written the VM's directory, before the guest reads it. */
  tamperFiles: ((vmDir: string) => Promise<void>) | undefined;

  constructor(private readonly network: FakeNetwork) {}

  async start(vm: VmLaunch): Promise<RunningVm> {
    // Tmpfs of the guest: gone at each start.
    await rm(join(vm.dir, "fake-run"), { recursive: true, force: true });
    await this.tamperFiles?.(vm.dir);
    const guest = new InProcessGuest({
      vmDir: vm.dir,
      cmdline: this.tamperCmdline?.(vm.image.cmdline) ?? vm.image.cmdline,
      network: this.network,
      ...(this.tamperProvider === undefined ? {} : { provider: this.tamperProvider }),
    });
    this.guests.set(vm.id, guest);
    const stop = new AbortController();
    const ended = this.#live(vm.id, guest, stop.signal);
    const end = async (): Promise<void> => {
      stop.abort(new Error("the VM was ended"));
      await ended;
    };
    const running: RunningVm = {
      startedAt: new Date(),
      ended,
      powerDown: async () => void end(),
      kill: end,
      detach: () => {},
      pause: undefined,
      resume: async () => {},
      deletedBytes: async () => 0,
    };
    this.#running.set(vm.id, running);
    return running;
  }

  async attach({ id }: { id: string }): Promise<RunningVm | undefined> {
    return this.#running.get(id);
  }

  /** Boots, then runs until it is stopped; a guest that fails to boot powers itself off, as the production image does. */
  async #live(id: string, guest: InProcessGuest, signal: AbortSignal): Promise<VmExit> {
    try {
      await runBoot(guest, { signal });
      if (!signal.aborted) {
        await new Promise<void>((resolve) =>
          signal.addEventListener("abort", () => resolve(), { once: true }),
        );
      }
    } catch (err) {
      if (!signal.aborted) await guest.console(`boot failed: ${errorMessage(err)}`);
    }
    this.#running.delete(id);
    this.guests.delete(id);
    await guest[Symbol.asyncDispose]();
    return { code: 0, reason: "the guest shut down" };
  }
}
