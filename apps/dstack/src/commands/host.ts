import { InputError } from "@dstack/core";
import type { Command } from "commander";
import { resolve } from "node:path";
import { forgetHost, hostsPath, readHosts, saveHost } from "../hosts.js";
import { CliError, columns, printResult } from "../output.js";
import type { GlobalOptions } from "../output.js";
import { readCertificates, readTextFile } from "../read-file.js";

/** `dstack host`: the teepods somebody works with, by name. */
export function registerHost(program: Command): void {
  const host = program
    .command("host")
    .description("name the teepods you work with, for --host and `ls --all`");

  host
    .command("ls")
    .description("list the hosts")
    .action(async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      const hosts = [...(await readHosts())].map(([name, known]) => ({ name, ...known }));
      printResult(options, hosts, () =>
        hosts.length === 0
          ? "no hosts yet; `dstack host add <name> <url>` adds one"
          : columns([
              ["NAME", "URL", "TOKEN", "KMS ROOT CA"],
              ...hosts.map((h) => [h.name, h.url, h.token_file ?? "-", h.kms_ca ?? "-"]),
            ]),
      );
    });

  host
    .command("add")
    .description("add a host, or change it")
    .argument("<name>", "what to call it")
    .argument("<url>", "its teepod, such as https://berlin.example.org:9080")
    .option("--token-file <file>", "file of its bearer token; the path is kept, not the token")
    .option("--kms-ca <file>", "root CA of its KMS, in PEM, for variables")
    .action(async (name: string, url: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions & { tokenFile?: string; kmsCa?: string }>();
      if (options.tokenFile !== undefined) await readTextFile(options.tokenFile);
      if (options.kmsCa !== undefined) await readCertificates(options.kmsCa);
      await saveHost(name, {
        url,
        ...(options.tokenFile !== undefined && { token_file: resolve(options.tokenFile) }),
        ...(options.kmsCa !== undefined && { kms_ca: resolve(options.kmsCa) }),
      }).catch((err: unknown) => {
        throw err instanceof InputError ? new CliError(err.message, 2, { cause: err }) : err;
      });
      printResult(
        options,
        { name, url },
        () => `${name} is in ${hostsPath()}: try \`dstack ls --host ${name}\``,
      );
    });

  host
    .command("rm")
    .description("forget a host")
    .argument("<name>", "what it is called")
    .action(async (name: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<GlobalOptions>();
      if (!(await forgetHost(name)))
        throw new CliError(`no host is called ${name}; \`dstack host ls\` shows what there is`);
      printResult(options, { name, removed: true }, () => `${name} is forgotten`);
    });
}
