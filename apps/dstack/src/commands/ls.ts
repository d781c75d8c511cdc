import type { Command } from "commander";
import type { teepod } from "@dstack/proto";
import { columns, printResult, printable } from "../output.js";
import { appUrls, teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodOptions } from "../teepod.js";
import { addTeepodOptions } from "./options.js";

/** What a VM is doing, in a word or two: a running VM may still be booting, or have failed to. */
function stateOf(vm: teepod.VmInfo): string {
  if (vm.status !== "running") return vm.status;
  if (vm.bootError) return "boot failed";
  const step = vm.bootProgress?.split(" ")[0] ?? "";
  return step.startsWith("ready") ? "running" : `booting ${printable(step)}`.trimEnd();
}

/** `dstack ls` */
export function registerLs(program: Command): void {
  addTeepodOptions(program.command("ls").description("list the CVMs of a host")).action(
    async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<TeepodOptions>();
      const client = teepodClient(await teepodAddress(options));
      const { vms } = await client.status({});
      const rows = vms.map((vm) => ({
        id: vm.id,
        name: vm.name,
        status: vm.status,
        uptime: vm.uptime,
        image: vm.configuration?.image ?? "",
        app_id: vm.appId,
        ...appUrls(vm),
        boot_progress: vm.bootProgress,
        boot_error: vm.bootError,
      }));
      printResult(options, rows, () => {
        if (vms.length === 0) return "no CVMs yet; `dstack deploy <docker-compose.yaml>` makes one";
        const table = vms.map((vm) => {
          const app = appUrls(vm).app_url ?? vm.appId;
          return [vm.id.slice(0, 8), printable(vm.name), stateOf(vm), vm.uptime, app];
        });
        const errors = vms
          .filter((vm) => vm.bootError)
          .map((vm) => `${printable(vm.name)}: ${printable(vm.bootError ?? "")}`);
        return [columns([["ID", "NAME", "STATE", "UP", "APP"], ...table]), ...errors].join("\n");
      });
    },
  );
}
