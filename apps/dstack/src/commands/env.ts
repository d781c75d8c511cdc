import { allowedEnvs } from "@dstack/app-compose";
import { InputError, errorCode, readRegularFileIfAny, writeFileAtomic } from "@dstack/core";
import type { EnvVariable } from "@dstack/ra-tls";
import type { Command } from "commander";
import { resolve } from "node:path";
import { meantApp, sealVariables } from "../env-key.js";
import type { MeantAppOptions } from "../env-key.js";
import { editEnvFile, mergeVariables, parseEnvFile, parseVariable } from "../environment.js";
import { CliError, columns, printResult } from "../output.js";
import { findVm, teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodOptions } from "../teepod.js";
import { addAppIdOption, addKmsCaOption, vmCommand } from "./options.js";

const MAX_ENV_FILE_BYTES = 1024 * 1024;

interface EnvOptions extends MeantAppOptions {
  envFile: string;
}

/** `dstack env`: variables of a CVM, one at a time; the file that holds them all stays with whoever set them. */
export function registerEnv(program: Command): void {
  const env = program
    .command("env")
    .description("change the encrypted variables of a CVM")
    .addHelpText(
      "after",
      `
Nobody but the CVM can read the values it has, this command included: they come from the env file, which stays here,
and each change encrypts all of them anew (docs/decisions/env-updates.md). A change applies at the next start.`,
    );
  const add = (name: string, description: string): Command =>
    addAppIdOption(
      addKmsCaOption(
        vmCommand(env, name, description).requiredOption(
          "--env-file <file>",
          "the file with all of its variables",
        ),
      ),
    );

  vmCommand(env, "list", "list the variables that a CVM's document allows")
    .option("--env-file <file>", "also tell which have a value there")
    .action(async (wanted: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<TeepodOptions & { envFile?: string }>();
      const vm = await findVm(teepodClient(await teepodAddress(options)), wanted);
      const file = options.envFile;
      const known = file === undefined ? undefined : names(parseEnvFile((await readEnvFile(file)) ?? ""));
      const rows = allowedEnvs(vm.configuration?.composeFile ?? "").map((name) => ({
        name,
        ...(known !== undefined && { in_file: known.includes(name) }),
      }));
      const sent = (vm.configuration?.encryptedEnv.length ?? 0) > 0;
      printResult(options, { id: vm.id, values_sent: sent, variables: rows }, () =>
        rows.length === 0
          ? "its document allows none: `dstack upgrade --env` gives it one that does"
          : [
              columns(rows.map((row) => [row.name, row.in_file === false ? `no value in ${file}` : ""])),
              sent ? [] : "no values were ever sent to it",
            ]
              .flat()
              .join("\n"),
      );
    });

  add("set", "set variables in the env file, and send all of them")
    .argument("<variable...>", "NAME=value, or NAME for its value here")
    .action((wanted: string, given: string[], _: unknown, command: Command) =>
      send(
        wanted,
        command.optsWithGlobals(),
        given.map((text) => parseVariable(text)),
        [],
      ),
    );
  add("unset", "take variables out of the env file, and send the others")
    .argument("<name...>", "names of variables")
    .action((wanted: string, unset: string[], _: unknown, command: Command) =>
      send(wanted, command.optsWithGlobals(), [], unset),
    );
  add("push", "send all variables of the env file as it is").action(
    (wanted: string, _: unknown, command: Command) => send(wanted, command.optsWithGlobals(), [], []),
  );
}

const names = (variables: readonly EnvVariable[]): string[] => variables.map(({ key }) => key);

async function readEnvFile(path: string): Promise<string | undefined> {
  try {
    const bytes = await readRegularFileIfAny(resolve(path), MAX_ENV_FILE_BYTES);
    return bytes === undefined ? undefined : new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (err) {
    if (errorCode(err) === "EACCES") throw new InputError(`you may not read ${path}`);
    if (err instanceof TypeError) throw new InputError(`${path} is not text in UTF-8`);
    throw err;
  }
}

/**
 * Changes the env file, and sends what it then holds.
 * @throws {CliError} a name the document does not allow, or values that nobody here has
 */
async function send(
  wanted: string,
  options: EnvOptions,
  set: readonly EnvVariable[],
  unset: readonly string[],
): Promise<void> {
  const file = options.envFile;
  const before = await readEnvFile(file);
  const client = teepodClient(await teepodAddress(options));
  const vm = await findVm(client, wanted);
  const appId = meantApp(vm, wanted, options);
  const allowed = allowedEnvs(vm.configuration?.composeFile ?? "");
  const text = editEnvFile(before ?? "", set, unset);
  const variables = mergeVariables(parseEnvFile(text));
  const strange = [...names(variables), ...unset].filter((name) => !allowed.includes(name));
  if (strange.length > 0) {
    throw new CliError(
      `the document of ${vm.name} does not allow ${strange.join(", ")}: a new name is a new document, ` +
        `\`dstack upgrade ${vm.name} <file> --env-file ${file}\``,
    );
  }
  const without = allowed.filter((name) => !names(variables).includes(name));
  if (before === undefined && without.some((name) => !unset.includes(name))) {
    throw new CliError(
      `there is no ${file}, and nobody can read the values that the CVM has: make it, with all of ${allowed.join(", ")}`,
    );
  }
  const sealed = await sealVariables(client, appId, variables, options);
  // First here, so that what the CVM gets is never lost.
  if (text !== before) await writeFileAtomic(resolve(file), text, { mode: 0o600 });
  try {
    await client.upgradeApp({
      id: vm.id,
      composeFile: vm.configuration?.composeFile ?? "",
      encryptedEnv: sealed,
      ...(vm.etag !== "" && { expectedEtag: vm.etag }),
    });
  } catch (err) {
    if (text === before) throw err;
    const why = err instanceof Error ? err.message : String(err);
    throw new CliError(`${why}; ${file} is changed already: \`dstack env push\` sends it`, 1, { cause: err });
  }
  printResult(options, { id: vm.id, set: names(variables), without }, () =>
    [
      `sent: ${names(variables).join(", ") || "no variable"}${without.length > 0 ? `; without a value: ${without.join(", ")}` : ""}`,
      `they apply at the next start: dstack restart ${vm.id}`,
    ].join("\n"),
  );
}
