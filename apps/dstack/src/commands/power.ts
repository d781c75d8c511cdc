import { TimeoutError } from "@dstack/core";
import type { teepod } from "@dstack/proto";
import type { Command } from "commander";
import { bootTold } from "../new-vm.js";
import { CliError, Progress, printResult } from "../output.js";
import { findVm, teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodClient, TeepodOptions } from "../teepod.js";
import { waitStopped } from "../wait.js";
import type { BootWaitOptions } from "../wait.js";
import { addWaitOptions, interruptSignal, vmCommand } from "./options.js";

type PowerOptions = TeepodOptions & BootWaitOptions & { force?: boolean };

async function open(command: Command, wanted: string) {
  const options = command.optsWithGlobals<PowerOptions>();
  const client = teepodClient(await teepodAddress(options));
  return { options, client, vm: await findVm(client, wanted), signal: interruptSignal() };
}

/** Ends a VM that runs, and waits until it has ended. @throws {CliError} the guest does not shut down */
async function end(
  { client, vm, signal }: { client: TeepodClient; vm: teepod.VmInfo; signal: AbortSignal },
  force: boolean,
): Promise<void> {
  if (force) await client.stopVm({ id: vm.id });
  else if (vm.status !== "stopping") await client.shutdownVm({ id: vm.id });
  try {
    await waitStopped(client, vm.id, signal);
  } catch (err) {
    if (signal.aborted)
      throw new CliError(`interrupted; ${vm.id} goes on shutting down`, 130, { cause: err });
    if (!(err instanceof TimeoutError)) throw err;
    throw new CliError(`${vm.id} has not stopped: try \`dstack stop --force ${vm.id}\``, 1, { cause: err });
  }
}

const isOver = ({ status }: teepod.VmInfo): boolean => status === "stopped" || status === "exited";

/** `dstack start`, `dstack stop`, `dstack restart`, `dstack rm` */
export function registerPower(program: Command): void {
  addWaitOptions(vmCommand(program, "start", "start a stopped CVM")).action(
    async (wanted: string, _: unknown, command: Command) => {
      const { options, client, vm, signal } = await open(command, wanted);
      const runs = vm.status === "running";
      if (!runs) await client.startVm({ id: vm.id });
      if (!runs || options.wait === true)
        await bootTold({ client, id: vm.id, progress: new Progress(options.json), options, signal });
      printResult(options, { id: vm.id, status: "running" }, () =>
        runs ? `${vm.id} is running already` : `${vm.id} is started`,
      );
    },
  );

  vmCommand(program, "stop", "shut a CVM down; its disk is kept")
    .option("-f, --force", "end it at once instead of asking the guest")
    .action(async (wanted: string, _: unknown, command: Command) => {
      const opened = await open(command, wanted);
      const { options, vm } = opened;
      if (isOver(vm)) {
        printResult(options, { id: vm.id, status: vm.status }, () => `${vm.id} is not running`);
        return;
      }
      await end(opened, options.force === true);
      printResult(options, { id: vm.id, status: "stopped" }, () => `${vm.id} is stopped`);
    });

  addWaitOptions(
    vmCommand(program, "restart", "shut a CVM down and start it: an upgrade and new variables apply then"),
  )
    .option("-f, --force", "end it at once instead of asking the guest")
    .action(async (wanted: string, _: unknown, command: Command) => {
      const opened = await open(command, wanted);
      const { options, client, vm, signal } = opened;
      const progress = new Progress(options.json);
      if (!isOver(vm)) {
        progress.step(`stopping ${vm.id}`);
        await end(opened, options.force === true);
      }
      await client.startVm({ id: vm.id });
      await bootTold({ client, id: vm.id, progress, options, signal });
      printResult(options, { id: vm.id, status: "running" }, () => `${vm.id} is started`);
    });

  vmCommand(program, "rm", "remove a stopped CVM and its disk")
    .option("-f, --force", "end it first if it is running")
    .action(async (wanted: string, _: unknown, command: Command) => {
      const opened = await open(command, wanted);
      const { options, client, vm } = opened;
      if (options.force === true && !isOver(vm)) await end(opened, true);
      await client.removeVm({ id: vm.id });
      printResult(options, { id: vm.id, removed: true }, () => `${vm.id} is removed, disk and all`);
    });
}
