import type { Command } from "commander";
import { writeFile } from "node:fs/promises";
import { hex, sha256 } from "@dstack/core";
import { describeIdentity, readAppCompose } from "../compose.js";
import type { DocumentOptions } from "../compose.js";
import { printResult, printable } from "../output.js";
import type { GlobalOptions } from "../output.js";
import { findVm, teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodOptions } from "../teepod.js";
import { addDocumentOptions, collect, vmCommand } from "./options.js";

/** `dstack compose`, `dstack compose-hash` */
export function registerCompose(program: Command): void {
  vmCommand(program, "compose", "print a CVM's app-compose document, byte for byte")
    .option("-o, --output <file>", "write it there instead")
    .action(async (wanted: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<TeepodOptions & { output?: string }>();
      const vm = await findVm(teepodClient(await teepodAddress(options)), wanted);
      const text = vm.configuration?.composeFile ?? "";
      const value = { id: vm.id, app_id: vm.appId, compose_hash: hex(sha256(text)), app_compose: text };
      if (options.output !== undefined) {
        await writeFile(options.output, text);
        printResult(options, { ...value, file: options.output }, () => `written to ${options.output}`);
      } else if (options.json === true) printResult(options, value, () => "");
      // No newline of ours: what is printed has the hash. A terminal is shown what the teepod says, not steered by it.
      else process.stdout.write(process.stdout.isTTY ? printable(text) : text);
    });

  addDocumentOptions(
    program
      .command("compose-hash")
      .description("tell the hash and the app id that deploying a file gives, without a teepod")
      .argument("<file>", "docker-compose.yaml, or an app-compose document (taken byte for byte)"),
  )
    .option("--env <name>", "name of a variable it will be deployed with; may be repeated", collect, [])
    .action(async (file: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & DocumentOptions & { env: string[] }>();
      const names = options.env.map((text) => text.replace(/=.*$/s, ""));
      const compose = await readAppCompose(file, options, [...new Set(names)]);
      printResult(options, { compose_hash: compose.composeHash, app_id: compose.appId }, () =>
        describeIdentity(compose),
      );
    });
}
