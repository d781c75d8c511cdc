import { appIdOfCompose, parseVmId, utf8 } from "@dstack/core";
import type { Command } from "commander";
import { CliError, Progress, printResult } from "../output.js";
import { findVm, teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodOptions } from "../teepod.js";
import { printNewVm } from "../new-vm.js";
import type { BootWaitOptions } from "../wait.js";
import { addPortOption, addWaitOptions, interruptSignal, vmCommand, wholeNumber } from "./options.js";
import type { PortMapping } from "./options.js";

type CloneOptions = TeepodOptions &
  BootWaitOptions & { vcpu?: number; memory?: number; disk?: number; port?: PortMapping[] };

/** `dstack clone`, `dstack resize` */
export function registerClone(program: Command): void {
  const shape = (command: Command): Command =>
    command
      .option("--vcpu <n>", "how many virtual CPUs it gets", wholeNumber(1, 256))
      .option("--memory <MB>", "how much memory it gets", wholeNumber(64, 4_194_304))
      .option("--disk <GB>", "size of its data disk", wholeNumber(1, 1_048_576));

  addPortOption(
    addWaitOptions(
      shape(
        vmCommand(
          program,
          "clone",
          "make another CVM of the same app on the same host: same document and variables, a disk of its own",
        ).argument("[name]", "name of the new one (default: the old one's with -copy)"),
      ),
    ),
  ).action(async (wanted: string, name: string | undefined, _: unknown, command: Command) => {
    const options = command.optsWithGlobals<CloneOptions>();
    const client = teepodClient(await teepodAddress(options));
    const { configuration, ...vm } = await findVm(client, wanted);
    if (configuration === undefined)
      throw new CliError(`the teepod does not tell the configuration of ${vm.name}`);
    const { $typeName: _type, ...config } = configuration;
    const progress = new Progress(options.json);
    const { id: given } = await client.createVm({
      ...config,
      name: name ?? `${vm.name}-copy`.slice(0, 63),
      vcpu: options.vcpu ?? config.vcpu,
      memory: options.memory ?? config.memory,
      diskSize: options.disk ?? config.diskSize,
      // Host ports of the old one are taken.
      ports: options.port ?? [],
      // A document that is not the app's first does not tell the app.
      ...(appIdOfCompose(utf8(config.composeFile)) !== vm.appId && { appId: vm.appId }),
    });
    // Commands with it are printed, for people to copy.
    const id = parseVmId(given);
    progress.step(`created VM ${id}`);
    await printNewVm({ client, id, progress, options, signal: interruptSignal() }, { app_id: vm.appId });
  });

  shape(
    vmCommand(program, "resize", "change CPUs, memory or disk of a stopped CVM; a disk only grows"),
  ).action(async (wanted: string, _: unknown, command: Command) => {
    const options = command.optsWithGlobals<CloneOptions>();
    const { vcpu, memory, disk } = options;
    if (vcpu === undefined && memory === undefined && disk === undefined)
      throw new CliError("say what to change: --vcpu, --memory or --disk", 2);
    const client = teepodClient(await teepodAddress(options));
    const vm = await findVm(client, wanted);
    await client.resizeVm({
      id: vm.id,
      ...(vcpu !== undefined && { vcpu }),
      ...(memory !== undefined && { memory }),
      ...(disk !== undefined && { diskSize: disk }),
      ...(vm.etag !== "" && { expectedEtag: vm.etag }),
    });
    const now = {
      vcpu: vcpu ?? vm.configuration?.vcpu,
      memory: memory ?? vm.configuration?.memory,
      disk_size: disk ?? vm.configuration?.diskSize,
    };
    printResult(
      options,
      { id: vm.id, ...now },
      () =>
        `${vm.id} has ${now.vcpu} vCPU, ${now.memory} MB memory, ${now.disk_size} GB disk when it starts: dstack start ${vm.id}`,
    );
  });
}
