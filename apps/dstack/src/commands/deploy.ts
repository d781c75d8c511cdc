import { sleep, withDeadline } from "@dstack/core";
import type { teepod } from "@dstack/proto";
import type { Command } from "commander";
import { basename, dirname, resolve } from "node:path";
import { toAppCompose } from "../compose.js";
import type { AppCompose } from "../compose.js";
import { CliError, Progress, printResult, printable } from "../output.js";
import { readTextFile } from "../read-file.js";
import { teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodClient, TeepodOptions } from "../teepod.js";
import { addTeepodOptions, interruptSignal, portMapping, wholeNumber } from "./options.js";
import type { PortMapping } from "./options.js";

interface DeployOptions extends TeepodOptions {
  name?: string;
  image?: string;
  vcpu: number;
  memory: number;
  disk: number;
  port?: PortMapping[];
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

export interface WaitOptions {
  client: TeepodClient;
  id: string;
  progress: Progress;
  limitMs: number;
  signal: AbortSignal;
}

/**
 * Waits until the guest says it is ready, showing each step of its boot.
 * @throws {CliError} the boot failed (with its reason), or took too long
 */
export async function waitReady({
  client,
  id,
  progress,
  limitMs,
  signal,
}: WaitOptions): Promise<teepod.VmInfo> {
  return withDeadline(
    "booting the CVM",
    limitMs,
    async (limit) => {
      for (;;) {
        const { found, info } = await client.getInfo({ id }, { signal: limit });
        if (!found || info === undefined) throw new CliError(`VM ${id} is gone`);
        if (info.bootError)
          throw new CliError(`booting failed: ${printable(info.bootError)}; see \`dstack logs ${id}\``);
        if (info.status !== "running")
          throw new CliError(`the VM is ${info.status}; see \`dstack logs ${id}\``);
        if (info.bootProgress) progress.step(`guest: ${printable(info.bootProgress)}`);
        if (info.bootProgress?.startsWith("ready")) return info;
        await sleep(250, limit);
      }
    },
    signal,
  );
}

/** `dstack deploy` */
export function registerDeploy(program: Command): void {
  addTeepodOptions(
    program
      .command("deploy")
      .description("deploy a compose file into a new CVM")
      .argument("<file>", "docker-compose.yaml, or an app-compose document (taken byte for byte)"),
  )
    .option("--name <name>", "name of the CVM (default: the folder of the file)")
    .option("--image <image>", "guest image (default: the only one there is)")
    .option("--vcpu <n>", "virtual CPUs", wholeNumber(1, 256), 1)
    .option("--memory <MB>", "memory", wholeNumber(512, 4_194_304), 2048)
    .option("--disk <GB>", "data disk", wholeNumber(1, 1_048_576), 20)
    .option("--port <mapping>", "[tcp:|udp:]<host port>:<vm port>; may be repeated", portMapping)
    .option("--public-logs", "let anyone read the containers' logs")
    .option("--public-sysinfo", "let anyone read the list of containers and the system's load")
    .option("--wait", "wait until the app's containers have been started")
    .option("--timeout <s>", "how long to wait", wholeNumber(1, 3600), 300)
    .option("--dry-run", "only show the document, its hash and the app id")
    .action(async (file: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<DeployOptions>();
      const name = options.name ?? basename(dirname(resolve(file)));
      const compose = toAppCompose(await readTextFile(file), {
        name,
        publicLogs: options.publicLogs === true,
        publicSysinfo: options.publicSysinfo === true,
        allowedEnvs: [],
      });
      const identity = { app_id: compose.appId, compose_hash: compose.composeHash };
      if (options.dryRun === true) {
        printResult(options, { ...identity, app_compose: compose.text }, () => describe(compose));
        return;
      }
      const progress = new Progress(options.json);
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
      });
      progress.step(`created VM ${id}`);
      if (options.wait === true) {
        await waitReady({ client, id, progress, limitMs: options.timeout * 1000, signal: interruptSignal() });
      }
      const { info } = await client.getInfo({ id });
      printResult(options, { id, ...identity, app_url: info?.appUrl }, () =>
        `${id}\n${info?.appUrl ?? ""}`.trimEnd(),
      );
    });
}

function describe(compose: AppCompose): string {
  return `${compose.text}\n\ncompose hash ${compose.composeHash}\napp id       ${compose.appId}`;
}
