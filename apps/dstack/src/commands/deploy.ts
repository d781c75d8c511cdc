import { parseVmId } from "@dstack/core";
import type { Command } from "commander";
import { describeIdentity, readAppCompose } from "../compose.js";
import type { DocumentOptions } from "../compose.js";
import { sealVariables } from "../env-key.js";
import type { KmsCaOptions } from "../env-key.js";
import { readVariables } from "../environment.js";
import { CliError, Progress, printResult } from "../output.js";
import { teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodClient } from "../teepod.js";
import { printNewVm } from "../new-vm.js";
import type { BootWaitOptions } from "../wait.js";
import {
  addDocumentOptions,
  addPortOption,
  addTeepodOptions,
  addVariableOptions,
  addWaitOptions,
  interruptSignal,
  wholeNumber,
} from "./options.js";
import type { PortMapping } from "./options.js";

interface DeployOptions extends KmsCaOptions, DocumentOptions, BootWaitOptions {
  image?: string;
  vcpu: number;
  memory: number;
  disk: number;
  port?: PortMapping[];
  env: string[];
  envFile?: string;
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

/** `dstack deploy` */
export function registerDeploy(program: Command): void {
  const command = program
    .command("deploy")
    .description("deploy a compose file into a new CVM")
    .argument("<file>", "docker-compose.yaml, or an app-compose document (taken byte for byte)")
    .option("--dry-run", "only show the document, its hash and the app id")
    .option("--image <image>", "guest image (default: the only one there is)")
    .option("--vcpu <n>", "how many virtual CPUs it has", wholeNumber(1, 256), 1)
    .option("--memory <MB>", "how much memory it has", wholeNumber(64, 4_194_304), 2048)
    .option("--disk <GB>", "size of its data disk, which grows as it is used", wholeNumber(1, 1_048_576), 20);
  addTeepodOptions(addWaitOptions(addVariableOptions(addDocumentOptions(addPortOption(command))))).action(
    deploy,
  );
}

async function deploy(file: string, _: unknown, command: Command): Promise<void> {
  const options = command.optsWithGlobals<DeployOptions>();
  const variables = await readVariables(options);
  const compose = await readAppCompose(
    file,
    options,
    variables.map(({ key }) => key),
  );
  const identity = { app_id: compose.appId, compose_hash: compose.composeHash };
  if (options.dryRun === true) {
    printResult(
      options,
      { ...identity, app_compose: compose.text, notices: compose.notices },
      () => `${compose.text}\n\n${describeIdentity(compose)}`,
    );
    return;
  }
  const signal = interruptSignal();
  const progress = new Progress(options.json);
  for (const notice of compose.notices) progress.step(`note: ${notice}`);
  progress.step(`compose hash ${compose.composeHash}`);
  progress.step(`app id       ${compose.appId}`);
  const client = teepodClient(await teepodAddress(options));
  const { id: given } = await client.createVm({
    name: compose.name,
    image: await chooseImage(client, options.image),
    composeFile: compose.text,
    vcpu: options.vcpu,
    memory: options.memory,
    diskSize: options.disk,
    ports: options.port ?? [],
    encryptedEnv:
      variables.length === 0
        ? new Uint8Array()
        : await sealVariables(client, compose.appId, variables, options),
  });
  // Commands with it are printed, for people to copy.
  const id = parseVmId(given);
  progress.step(`created VM ${id}`);
  await printNewVm({ client, id, progress, options, signal }, identity);
}
