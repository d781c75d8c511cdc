import { InputError, errorCode, errorMessage } from "@dstack/core";
import { loadConfig, runDaemon } from "@dstack/daemon";
import { Command } from "commander";
import { KmsConfig } from "./config.js";
import { initKms } from "./init/init.js";
import { DEFAULT_ALT_NAMES, issueServerCert } from "./init/server-cert.js";
import { startKms } from "./service.js";

/** `a,b` and repeated options both add to the list. */
function addNames(text: string, names: readonly string[] = []): string[] {
  return [...names, ...text.split(",").map((name) => name.trim())].filter((name) => name !== "");
}

function altNames(given: readonly string[] | undefined): readonly string[] {
  return given ?? DEFAULT_ALT_NAMES;
}

const program = new Command("kms")
  .description("Releases keys to confidential VMs whose attestation was verified.")
  .version("0.1.0")
  .option("-c, --config <file>", "configuration file", "kms.toml")
  .showHelpAfterError()
  .action(async ({ config }: { config: string }) => {
    await runDaemon("kms", async () => startKms(await loadConfig(KmsConfig, { path: config })));
  });

const NAMES_HELP = `host names and IP addresses, comma-separated (default: ${DEFAULT_ALT_NAMES.join(",")})`;

program
  .command("init")
  .description("create root CA and server certificate; never overwrites")
  .requiredOption("--dir <dir>", "directory for keys and certificates")
  .option("--common-name <name>", "name of the root CA", "dstack KMS root CA")
  .option("--alt-name <names>", NAMES_HELP, addNames)
  .action(async (options: { dir: string; commonName: string; altName?: string[] }) => {
    await initKms(options.dir, { commonName: options.commonName, altNames: altNames(options.altName) });
    process.stdout.write(`root CA and server certificate are in ${options.dir}\n`);
  });

program
  .command("issue-server-cert")
  .description("issue a TLS server certificate of the root CA, for example for tproxy; never overwrites")
  .requiredOption("--dir <dir>", "directory that kms init made")
  .requiredOption("--out-cert <file>", "certificate chain to write")
  .requiredOption("--out-key <file>", "private key to write")
  .option("--common-name <name>", "name in the certificate", "dstack server")
  .option("--alt-name <names>", NAMES_HELP, addNames)
  .action(
    async (options: {
      dir: string;
      outCert: string;
      outKey: string;
      commonName: string;
      altName?: string[];
    }) => {
      await issueServerCert(options.dir, { ...options, altNames: altNames(options.altName) });
      process.stdout.write(`wrote ${options.outCert} and ${options.outKey}\n`);
    },
  );

program.parseAsync().catch((err: unknown) => {
  const reason =
    errorCode(err) === "EEXIST" ? `${errorMessage(err)}; nothing is ever overwritten` : errorMessage(err);
  process.stderr.write(`kms: ${reason}\n`);
  process.exitCode = err instanceof InputError ? 2 : 1;
});
