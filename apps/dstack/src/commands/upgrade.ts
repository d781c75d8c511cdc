import { isAppCompose } from "@dstack/app-compose";
import type { Command } from "commander";
import { join } from "node:path";
import { toAppCompose } from "../compose.js";
import { Home } from "../local/home.js";
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
    const before = JSON.parse(vm.configuration?.composeFile ?? "{}") as Record<string, unknown>;
    const text = await readTextFile(file);
    const envs: unknown[] = Array.isArray(before["allowed_envs"]) ? before["allowed_envs"] : [];
    const compose = toAppCompose(text, {
      name: vm.name,
      publicLogs: before["public_logs"] === true,
      publicSysinfo: before["public_sysinfo"] === true,
      // The VM keeps its encrypted variables, and its new document must allow them.
      allowedEnvs: isAppCompose(text) ? [] : envs.map(String),
    });
    // The script finds the local installation's KMS by itself unless --home named it.
    const registry = options.home === undefined ? "" : `-c ${join(Home.locate(options.home), "kms.toml")} `;
    const { id: newAppId } = await client.upgradeApp({
      id: vm.id,
      composeFile: compose.text,
      // What was read above is what is replaced, or nothing is. A teepod older than etags gives none.
      ...(vm.etag !== "" && { expectedEtag: vm.etag }),
    });
    printResult(
      options,
      { id: vm.id, app_id: vm.appId, upgraded_app_id: newAppId },
      () =>
        `${compose.notices.map((notice) => `note: ${notice}\n`).join("")}` +
        `the KMS must allow this upgrade first:\n  ./scripts/kms-allow-upgrade.sh ${registry}${vm.appId} ${newAppId}\n` +
        `then apply it:\n  dstack stop ${vm.id} && dstack start ${vm.id}`,
    );
  });
}
