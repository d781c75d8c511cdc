import {
  allowedEnvs,
  diffLines,
  fieldsOfAppCompose,
  isAppCompose,
  readable,
  requireKeptNames,
} from "@dstack/app-compose";
import { appIdOfCompose, parseAppId, utf8 } from "@dstack/core";
import type { Command } from "commander";
import { describeIdentity, toUpgradedCompose } from "../compose.js";
import { meantApp, namedApp, sealVariables } from "../env-key.js";
import type { MeantAppOptions } from "../env-key.js";
import { readVariables } from "../environment.js";
import { Home } from "../local/home.js";
import { allowUpgradeFor } from "../local/programs.js";
import { CliError, Progress, printResult, printable } from "../output.js";
import { readTextFile } from "../read-file.js";
import { findVm, meansLocalTeepod, teepodAddress, teepodClient } from "../teepod.js";
import { addAppIdOption, addVariableOptions, vmCommand } from "./options.js";

interface UpgradeOptions extends MeantAppOptions {
  dryRun?: boolean;
  env: string[];
  envFile?: string;
  publicLogs?: boolean;
  publicSysinfo?: boolean;
  publicTcbinfo?: boolean;
}

/** `dstack upgrade` */
export function registerUpgrade(program: Command): void {
  addAppIdOption(
    addVariableOptions(
      vmCommand(program, "upgrade", "give a CVM a new compose file; it keeps its app id and disk")
        .argument("<file>", "docker-compose.yaml or app-compose document")
        .option("--public-logs", "let anyone list the containers and read their logs, from now on")
        .option("--no-public-logs", "let nobody do so any more")
        .option("--public-sysinfo", "let anyone see the system's load, from now on")
        .option("--no-public-sysinfo", "let nobody see it any more")
        .option("--public-tcbinfo", "let anyone read the compose document and the event log, from now on")
        .option("--no-public-tcbinfo", "let nobody read them any more")
        .option("--dry-run", "only show what changes, the new document, its hash and its id"),
    ),
  )
    .addHelpText(
      "after",
      "\nA docker-compose.yaml takes the place of the one in the CVM's document, whose other fields stay (sockets, public_ports, …):" +
        "\nwhat changes is shown on stderr. An app-compose document is taken byte for byte." +
        "\nWithout --env and --env-file the CVM keeps its variables; with them it has those alone, so give all of them.",
    )
    .action(upgrade);
}

/** The lines that go and come, as the teepod's page shows them; `[]` when the document stays as it is. */
function changesBetween(before: string, after: string): string[] {
  if (before === after) return [];
  return diffLines(readable(before), readable(after))
    .filter(({ kind }) => kind !== "same")
    .map(({ kind, text }) => `${kind === "added" ? "+" : "-"} ${text}`);
}

/**
 * What a person has to look at before they allow the upgrade, for only the teepod says it (K2): another machine's could
 * name another app, or put fields into the document that stay in the new one, such as variables that anyone may set.
 */
function onlyToldByTeepod(
  { appId, before, kept }: { appId: string; before: string; kept: boolean },
  wanted: string,
  options: UpgradeOptions,
): string[] {
  if (meansLocalTeepod(options)) return [];
  const named = namedApp(wanted, options) !== undefined;
  const app = `that ${printable(wanted)} is the app ${appId} is what its teepod says; --app-id <id> has it checked`;
  // The app's first document is vouched for by its id.
  const vouched = named && appIdOfCompose(utf8(before)) === appId;
  const { docker_compose_file: _, ...fields } = fieldsOfAppCompose(before);
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${JSON.stringify(value)}`);
  return [
    ...(named ? [] : [app]),
    ...(kept && !vouched
      ? [
          `the rest of the document stays as its teepod says it is; look whether it is yours: ${lines.join(", ")}`,
        ]
      : []),
  ];
}

/** How the KMS is told, and where: another host's KMS has the script beside it, as the teepod's page says. */
function allowCommand(
  options: UpgradeOptions,
  appId: string,
  upgradedAppId: string,
): { command: string; where: string } {
  if (meansLocalTeepod(options)) {
    const home = { dir: Home.locate(options.home) };
    return { command: allowUpgradeFor(home, appId, upgradedAppId), where: "" };
  }
  return { command: `./kms-allow-upgrade.sh ${appId} ${upgradedAppId}`, where: ", in the KMS's directory" };
}

async function upgrade(wanted: string, file: string, _: unknown, command: Command): Promise<void> {
  const options = command.optsWithGlobals<UpgradeOptions>();
  const variables = await readVariables(options);
  const text = await readTextFile(file);
  const client = teepodClient(await teepodAddress(options));
  const vm = await findVm(client, wanted);
  const named = namedApp(wanted, options) !== undefined;
  const appId = named ? meantApp(vm, wanted, options) : parseAppId(vm.appId);
  const before = vm.configuration?.composeFile ?? "";
  const names = variables.map(({ key }) => key);
  const { publicLogs, publicSysinfo, publicTcbinfo } = options;
  const flags = {
    ...(publicLogs !== undefined && { publicLogs }),
    ...(publicSysinfo !== undefined && { publicSysinfo }),
    ...(publicTcbinfo !== undefined && { publicTcbinfo }),
  };
  if (isAppCompose(text) && Object.keys(flags).length > 0)
    throw new CliError(`${file} is an app-compose document: what is public stands in it`, 2);
  const compose = toUpgradedCompose(before, text, {
    // A wrapped file goes on allowing what the VM may have; a document that is one already says it itself.
    allowedEnvs: isAppCompose(text) ? names : [...new Set([...allowedEnvs(before), ...names])],
    flags,
  });
  if (variables.length === 0 && (vm.configuration?.encryptedEnv.length ?? 0) > 0)
    requireKeptNames(before, compose.text);
  const changes = changesBetween(before, compose.text);
  const progress = new Progress(options.json);
  const told = onlyToldByTeepod({ appId, before, kept: !isAppCompose(text) }, wanted, options);
  const notices = [...compose.notices, ...told];
  for (const notice of notices) progress.step(`note: ${printable(notice)}`);
  progress.step(changes.length === 0 ? "the document stays as it is" : "what changes of the document:");
  for (const line of changes) progress.step(`  ${printable(line)}`);
  if (options.dryRun === true) {
    printResult(
      options,
      {
        id: vm.id,
        app_id: appId,
        upgraded_app_id: compose.appId,
        compose_hash: compose.composeHash,
        app_compose: compose.text,
        changes,
        notices,
      },
      () => `${printable(compose.text)}\n\n${describeIdentity(compose)}`,
    );
    return;
  }
  // Its answer is not needed: the id to allow is of the document that was made here, whatever the teepod says it is (K2).
  await client.upgradeApp({
    id: vm.id,
    composeFile: compose.text,
    ...(variables.length > 0 && {
      encryptedEnv: await sealVariables(client, meantApp(vm, wanted, options), variables, options),
    }),
    // What was read above is what is replaced, or nothing is. A teepod older than etags gives none.
    ...(vm.etag !== "" && { expectedEtag: vm.etag }),
  });
  const allow = allowCommand(options, appId, compose.appId);
  printResult(
    options,
    {
      id: vm.id,
      app_id: appId,
      upgraded_app_id: compose.appId,
      allow_command: allow.command,
      changes,
      notices,
    },
    () =>
      `the KMS must allow this upgrade first${allow.where}:\n  ${allow.command}\nthen apply it:\n  dstack restart ${vm.id}`,
  );
}
