import type { Command } from "commander";
import { rm } from "node:fs/promises";
import { isRunning, startDaemon, stopDaemon } from "../local/daemons.js";
import { DAEMON_NAMES, Home } from "../local/home.js";
import { localServices } from "../local/services.js";
import { removeTunnel } from "../local/tunnel.js";
import { Progress, printResult } from "../output.js";
import type { GlobalOptions } from "../output.js";
import { localClient } from "../teepod.js";
import { waitStopped } from "../wait.js";
import { interruptSignal } from "./options.js";

const GRACEFUL_LIMIT_MS = 45_000;

/** `dstack down` */
export function registerDown(program: Command): void {
  program
    .command("down")
    .description("end every CVM and daemon of the local installation; disks and keys are kept")
    .option("--purge", "also delete disks, keys and everything else under --home")
    .action(async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { purge?: boolean }>();
      const home = await Home.openIfAny(Home.locate(options.home));
      if (home === undefined) {
        printResult(options, { stopped: [] }, () => "nothing was set up here");
        return;
      }
      const progress = new Progress(options.json);
      const signal = interruptSignal();
      if (home.state.ports !== undefined) await stopVms(home, progress, signal);
      const stopped: string[] = [];
      for (const name of DAEMON_NAMES.toReversed()) {
        if (await stopDaemon(home, name)) {
          stopped.push(name);
          progress.step(`${name} ended`);
        }
      }
      await removeTunnel(home);
      if (options.purge === true) await rm(home.dir, { recursive: true, force: true });
      printResult(options, { stopped, purged: options.purge === true }, () =>
        options.purge === true
          ? `everything under ${home.dir} is deleted`
          : `stopped; what is kept lies under ${home.dir}`,
      );
    });
}

/** VMs outlive teepod, so they are ended through it: it is started again where it is gone. */
async function stopVms(home: Home, progress: Progress, signal: AbortSignal): Promise<void> {
  if (!isRunning(home, "teepod")) {
    const spec = (await localServices(home)).find((service) => service.name === "teepod");
    if (spec !== undefined) await startDaemon(home, spec, signal);
  }
  const client = await localClient(home);
  const { vms } = await client.status({}, { signal });
  const running = vms.filter((vm) => ["running", "paused", "stopping"].includes(vm.status));
  await Promise.all(
    running.map(async (vm) => {
      try {
        await client.shutdownVm({ id: vm.id }, { signal });
        await waitStopped(client, vm.id, signal, GRACEFUL_LIMIT_MS);
      } catch {
        signal.throwIfAborted();
        await client.stopVm({ id: vm.id }, { signal });
        await waitStopped(client, vm.id, signal, GRACEFUL_LIMIT_MS);
      }
      progress.step(`CVM ${vm.id} ended`);
    }),
  );
}
