import { TimeoutError } from "@dstack/core";
import type { Command } from "commander";
import { CliError, printResult } from "../output.js";
import { findVm, teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodOptions } from "../teepod.js";
import { waitStopped } from "../wait.js";
import { addTeepodOptions, interruptSignal } from "./options.js";

/** `dstack start`, `dstack stop`, `dstack rm` */
export function registerPower(program: Command): void {
  addTeepodOptions(
    program.command("start").description("start a stopped CVM").argument("<vm>", "id, name or app id"),
  ).action(async (wanted: string, _: unknown, command: Command) => {
    const options = command.optsWithGlobals<TeepodOptions>();
    const client = teepodClient(await teepodAddress(options));
    const vm = await findVm(client, wanted);
    const runs = vm.status === "running";
    if (!runs) await client.startVm({ id: vm.id });
    printResult(options, { id: vm.id, status: "running" }, () =>
      runs ? `${vm.id} is running already` : `${vm.id} starts; \`dstack logs -f ${vm.id}\` shows its console`,
    );
  });

  addTeepodOptions(
    program
      .command("stop")
      .description("shut a CVM down; its disk is kept")
      .argument("<vm>", "id, name or app id"),
  )
    .option("-f, --force", "end it at once instead of asking the guest")
    .action(async (wanted: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<TeepodOptions & { force?: boolean }>();
      const client = teepodClient(await teepodAddress(options));
      const vm = await findVm(client, wanted);
      if (vm.status === "stopped" || vm.status === "exited") {
        printResult(options, { id: vm.id, status: vm.status }, () => `${vm.id} is not running`);
        return;
      }
      const signal = interruptSignal();
      if (options.force === true) await client.stopVm({ id: vm.id });
      else if (vm.status !== "stopping") await client.shutdownVm({ id: vm.id });
      try {
        await waitStopped(client, vm.id, signal);
      } catch (err) {
        if (signal.aborted)
          throw new CliError(`interrupted; ${vm.id} goes on shutting down`, 130, { cause: err });
        if (!(err instanceof TimeoutError)) throw err;
        throw new CliError(`${vm.id} has not stopped: try \`dstack stop --force ${vm.id}\``, 1, {
          cause: err,
        });
      }
      printResult(options, { id: vm.id, status: "stopped" }, () => `${vm.id} is stopped`);
    });

  addTeepodOptions(
    program
      .command("rm")
      .description("remove a stopped CVM and its disk")
      .argument("<vm>", "id, name or app id"),
  )
    .option("-f, --force", "end it first if it is running")
    .action(async (wanted: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<TeepodOptions & { force?: boolean }>();
      const client = teepodClient(await teepodAddress(options));
      const vm = await findVm(client, wanted);
      if (options.force === true && ["running", "paused", "stopping"].includes(vm.status)) {
        await client.stopVm({ id: vm.id });
        await waitStopped(client, vm.id, interruptSignal());
      }
      await client.removeVm({ id: vm.id });
      printResult(options, { id: vm.id, removed: true }, () => `${vm.id} is removed, disk and all`);
    });
}
