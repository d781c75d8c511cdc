import { nameOfAppCompose } from "@dstack/app-compose";
import type { EnvVariable } from "@dstack/ra-tls";
import type { Command } from "commander";
import { basename, dirname, resolve } from "node:path";
import { toAppCompose } from "../compose.js";
import type { AppCompose } from "../compose.js";
import { sealVariables } from "../env-key.js";
import type { KmsCaOptions } from "../env-key.js";
import { mergeVariables, parseEnvFile, parseVariable } from "../environment.js";
import { CliError, Progress, printResult } from "../output.js";
import { readTextFile } from "../read-file.js";
import { appUrls, teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodClient } from "../teepod.js";
import { waitReady } from "../wait.js";
import { addTeepodOptions, collect, interruptSignal, portMapping, wholeNumber } from "./options.js";
import type { PortMapping } from "./options.js";

interface DeployOptions extends KmsCaOptions {
  name?: string;
  image?: string;
  vcpu: number;
  memory: number;
  disk: number;
  port?: PortMapping[];
  env: string[];
  envFile?: string;
  publicLogs?: boolean;
  publicSysinfo?: boolean;
  wait?: boolean;
  timeout: number;
  dryRun?: boolean;
}

/** The only image there is, or the one asked for. */
async function chooseImage(client: TeepodClient, wanted: string | undefined): Promise<string> {
  if (wanted !== undefined) return wanted;
  const { images } = await client.listImages({});
  const [image, ...others] = images;
  if (image === undefined)
    throw new CliError("this teepod has no guest image: `scripts/build-image` makes one");
  if (others.length > 0)
    throw new CliError(`choose one with --image: ${images.map((i) => i.name).join(", ")}`);
  return image.name;
}

/** The variables of `--env-file` and `--env`; those of the command line win. */
async function readVariables({ env, envFile }: DeployOptions): Promise<EnvVariable[]> {
  const fromFile = envFile === undefined ? [] : parseEnvFile(await readTextFile(envFile));
  return mergeVariables([...fromFile, ...env.map((text) => parseVariable(text))]);
}

/** `dstack deploy` */
export function registerDeploy(program: Command): void {
  addTeepodOptions(
    program
      .command("deploy")
      .description("deploy a compose file into a new CVM")
      .argument("<file>", "docker-compose.yaml, or an app-compose document (taken byte for byte)"),
  )
    .option("--name <name>", "name of the CVM (default: the document's, else the folder of the file)")
    .option("--image <image>", "guest image (default: the only one there is)")
    .option("--vcpu <n>", "how many virtual CPUs it has", wholeNumber(1, 256), 1)
    .option("--memory <MB>", "how much memory it has", wholeNumber(64, 4_194_304), 2048)
    .option("--disk <GB>", "size of its data disk, which grows as it is used", wholeNumber(1, 1_048_576), 20)
    .option("--port <mapping>", "[tcp:|udp:]<host port>:<vm port>; may be repeated", portMapping)
    .option(
      "--env <variable>",
      "NAME=value, or NAME for its value here: a variable of the compose file, encrypted to the app; may be repeated",
      collect,
      [],
    )
    .option("--env-file <file>", "lines of such variables")
    .option(
      "--kms-ca <file>",
      "root CA of the KMS, which must have signed the key they are encrypted to (default: $DSTACK_KMS_CA, else the local installation's)",
    )
    .option("--public-logs", "let anyone read the containers' logs")
    .option("--public-sysinfo", "let anyone read the list of containers and the system's load")
    .option("--wait", "wait until the app's containers have been started")
    .option("--timeout <s>", "how long --wait waits", wholeNumber(1, 3600), 300)
    .option("--dry-run", "only show the document, its hash and the app id")
    .action(async (file: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<DeployOptions>();
      const text = await readTextFile(file);
      const variables = await readVariables(options);
      const name = options.name ?? nameOfAppCompose(text) ?? basename(dirname(resolve(file)));
      const compose = toAppCompose(text, {
        name,
        publicLogs: options.publicLogs === true,
        publicSysinfo: options.publicSysinfo === true,
        allowedEnvs: variables.map(({ key }) => key),
      });
      const identity = { app_id: compose.appId, compose_hash: compose.composeHash };
      if (options.dryRun === true) {
        printResult(options, { ...identity, app_compose: compose.text }, () => describe(compose));
        return;
      }
      const signal = interruptSignal();
      const progress = new Progress(options.json);
      for (const notice of compose.notices) progress.step(`note: ${notice}`);
      progress.step(`compose hash ${compose.composeHash}`);
      progress.step(`app id       ${compose.appId}`);
      const client = teepodClient(await teepodAddress(options));
      const { id } = await client.createVm({
        name,
        image: await chooseImage(client, options.image),
        composeFile: compose.text,
        vcpu: options.vcpu,
        memory: options.memory,
        diskSize: options.disk,
        ports: options.port ?? [],
        encryptedEnv: await sealVariables(client, compose.appId, variables, options),
      });
      progress.step(`created VM ${id}`);
      if (options.wait === true) {
        await waitReady({ client, id, progress, limitMs: options.timeout * 1000, signal });
      } else {
        progress.step(`it boots now: \`dstack logs -f ${id}\` shows its console`);
      }
      const { info } = await client.getInfo({ id });
      const urls = appUrls(info);
      printResult(options, { id, ...identity, ...urls }, () => [id, urls.app_url ?? []].flat().join("\n"));
    });
}

function describe(compose: AppCompose): string {
  return `${compose.text}\n\ncompose hash ${compose.composeHash}\napp id       ${compose.appId}`;
}
