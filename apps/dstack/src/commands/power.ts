import { withDeadline, sleep } from "@dstack/core";
import type { Command } from "commander";
import { CliError, printResult } from "../output.js";
import { findVm, teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodClient, TeepodOptions } from "../teepod.js";
import { addTeepodOptions, interruptSignal } from "./options.js";

/** A guest that has not shut down by then is left running, and the command says so. */
const SHUTDOWN_LIMIT_MS = 120_000;

/** Waits until a VM is no longer running or stopping. */
export async function waitStopped(
  client: TeepodClient,
  id: string,
  signal: AbortSignal,
  limitMs = SHUTDOWN_LIMIT_MS,
): Promise<void> {
  await withDeadline(
    "shutting down",
    limitMs,
    async (limit) => {
      for (;;) {
        const { found, info } = await client.getInfo({ id }, { signal: limit });
        if (!found || info?.status === "stopped" || info?.status === "exited") return;
        await sleep(250, limit);
      }
    },
    signal,
  );
}

/** `dstack start`, `dstack stop`, `dstack rm` */
export function registerPower(program: Command): void {
  addTeepodOptions(
    program.command("start").description("start a stopped CVM").argument("<vm>", "id, name or app id"),
  ).action(async (wanted: string, _: unknown, command: Command) => {
    const options = command.optsWithGlobals<TeepodOptions>();
    const client = teepodClient(await teepodAddress(options));
    const vm = await findVm(client, wanted);
    await client.startVm({ id: vm.id });
    printResult(
      options,
      { id: vm.id, status: "running" },
      () => `${vm.id} starts; \`dstack logs -f ${vm.id}\` shows its console`,
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
      if (options.force === true) await client.stopVm({ id: vm.id });
      else await client.shutdownVm({ id: vm.id });
      try {
        await waitStopped(client, vm.id, interruptSignal());
      } catch (err) {
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
