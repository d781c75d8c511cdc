import type { Command } from "commander";
import { toAppCompose } from "../compose.js";
import { printResult } from "../output.js";
import { readTextFile } from "../read-file.js";
import { findVm, teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodOptions } from "../teepod.js";
import { addTeepodOptions } from "./options.js";

/** `dstack upgrade` */
export function registerUpgrade(program: Command): void {
  addTeepodOptions(
    program
      .command("upgrade")
      .description("give a CVM a new compose file; it keeps its app id and disk")
      .argument("<vm>", "id, name or app id")
      .argument("<file>", "docker-compose.yaml or app-compose document"),
  ).action(async (wanted: string, file: string, _: unknown, command: Command) => {
    const options = command.optsWithGlobals<TeepodOptions>();
    const client = teepodClient(await teepodAddress(options));
    const vm = await findVm(client, wanted);
    const before: unknown = JSON.parse(vm.configuration?.composeFile ?? "{}");
    const isPublic = (flag: string): boolean =>
      typeof before === "object" &&
      before !== null &&
      flag in before &&
      before[flag as keyof typeof before] === true;
    const compose = toAppCompose(await readTextFile(file), {
      name: vm.name,
      publicLogs: isPublic("public_logs"),
      publicSysinfo: isPublic("public_sysinfo"),
      allowedEnvs: [],
    });
    const { id: newAppId } = await client.upgradeApp({ id: vm.id, composeFile: compose.text });
    printResult(
      options,
      { id: vm.id, app_id: vm.appId, upgraded_app_id: newAppId },
      () =>
        `the KMS must allow this upgrade first:\n  ./scripts/kms-allow-upgrade.sh ${vm.appId} ${newAppId}\n` +
        `then apply it:\n  dstack stop ${vm.id} && dstack start ${vm.id}`,
    );
  });
}
