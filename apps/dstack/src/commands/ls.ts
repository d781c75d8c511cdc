import type { Command } from "commander";
import Table from "cli-table3";
import { printResult, printable } from "../output.js";
import { teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodOptions } from "../teepod.js";
import { addTeepodOptions } from "./options.js";

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
        app_url: vm.appUrl,
        boot_progress: vm.bootProgress,
        boot_error: vm.bootError,
      }));
      printResult(options, rows, () => {
        if (rows.length === 0) return "no CVMs yet; `dstack deploy <docker-compose.yaml>` makes one";
        const table = new Table({
          head: ["id", "name", "status", "up", "image", "app id"],
          style: { head: [], border: [] },
        });
        for (const row of rows) {
          table.push([row.id, printable(row.name), row.status, row.uptime, row.image, row.app_id]);
        }
        const errors = rows
          .filter((row) => row.boot_error)
          .map((row) => `${printable(row.name)}: ${printable(row.boot_error ?? "")}`);
        return [table.toString(), ...errors].join("\n");
      });
    },
  );
}
