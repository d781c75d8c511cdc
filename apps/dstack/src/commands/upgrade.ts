import { isAppCompose } from "@dstack/app-compose";
import type { Command } from "commander";
import { join } from "node:path";
import { toAppCompose } from "../compose.js";
import { meantApp, sealVariables } from "../env-key.js";
import type { MeantAppOptions } from "../env-key.js";
import { readVariables } from "../environment.js";
import { Home } from "../local/home.js";
import { printResult } from "../output.js";
import { readTextFile } from "../read-file.js";
import { findVm, teepodAddress, teepodClient } from "../teepod.js";
import { addAppIdOption, addVariableOptions, vmCommand } from "./options.js";

interface UpgradeOptions extends MeantAppOptions {
  env: string[];
  envFile?: string;
}

/** `dstack upgrade` */
export function registerUpgrade(program: Command): void {
  addAppIdOption(
    addVariableOptions(
      vmCommand(program, "upgrade", "give a CVM a new compose file; it keeps its app id and disk").argument(
        "<file>",
        "docker-compose.yaml or app-compose document",
      ),
    ),
  )
    .addHelpText(
      "after",
      "\nWithout --env and --env-file the CVM keeps its variables; with them it has those alone, so give all of them.",
    )
    .action(upgrade);
}

async function upgrade(wanted: string, file: string, _: unknown, command: Command): Promise<void> {
  const options = command.optsWithGlobals<UpgradeOptions>();
  const variables = await readVariables(options);
  const text = await readTextFile(file);
  const client = teepodClient(await teepodAddress(options));
  const vm = await findVm(client, wanted);
  const before = JSON.parse(vm.configuration?.composeFile ?? "{}") as Record<string, unknown>;
  const names = variables.map(({ key }) => key);
  const allowed: unknown[] = Array.isArray(before["allowed_envs"]) ? before["allowed_envs"] : [];
  const compose = toAppCompose(text, {
    name: vm.name,
    publicLogs: before["public_logs"] === true,
    publicSysinfo: before["public_sysinfo"] === true,
    publicTcbinfo: before["public_tcbinfo"] === true,
    // A wrapped file goes on allowing what the VM may have; a document that is one already says it itself.
    allowedEnvs: isAppCompose(text) ? names : [...new Set([...allowed.map(String), ...names])],
  });
  // The script finds the local installation's KMS by itself unless --home named it.
  const registry = options.home === undefined ? "" : `-c ${join(Home.locate(options.home), "kms.toml")} `;
  const { id: newAppId } = await client.upgradeApp({
    id: vm.id,
    composeFile: compose.text,
    ...(variables.length > 0 && {
      encryptedEnv: await sealVariables(client, meantApp(vm, wanted, options), variables, options),
    }),
    // What was read above is what is replaced, or nothing is. A teepod older than etags gives none.
    ...(vm.etag !== "" && { expectedEtag: vm.etag }),
  });
  const allow = `./scripts/kms-allow-upgrade.sh ${registry}${vm.appId} ${newAppId}`;
  printResult(
    options,
    { id: vm.id, app_id: vm.appId, upgraded_app_id: newAppId, allow_command: allow },
    () =>
      `${compose.notices.map((notice) => `note: ${notice}\n`).join("")}` +
      `the KMS must allow this upgrade first:\n  ${allow}\nthen apply it:\n  dstack restart ${vm.id}`,
  );
}
