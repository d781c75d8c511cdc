import { errorMessage } from "@dstack/core";
import type { Command } from "commander";
import type { teepod } from "@dstack/proto";
import { readHosts, tokenOf } from "../hosts.js";
import { CliError, columns, printResult, printable } from "../output.js";
import { appUrls, localTeepod, teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodAddress, TeepodOptions } from "../teepod.js";
import { addTeepodOptions } from "./options.js";

/** A host that is gone must not hold up the list of the others for long. */
const ALL_LIMIT_MS = 15_000;

/** What a VM is doing, in a word or two: a running VM may still be booting, or have failed to. */
export function stateOf(vm: teepod.VmInfo): string {
  if (vm.status !== "running") return vm.status;
  if (vm.bootError) return "boot failed";
  const step = vm.bootProgress?.split(" ")[0] ?? "";
  return step.startsWith("ready") ? "running" : `booting ${printable(step)}`.trimEnd();
}

interface Listed {
  readonly vm: teepod.VmInfo;
  /** Name of its host, where several are asked. */
  readonly host?: string;
}

/** `dstack ls` */
export function registerLs(program: Command): void {
  addTeepodOptions(program.command("ls").description("list the CVMs of a host, or of all hosts"))
    .option("-a, --all", "of every host that `dstack host ls` knows, and of the local installation")
    .action(async (_: unknown, command: Command) => {
      const options = command.optsWithGlobals<TeepodOptions & { all?: boolean }>();
      if (options.all !== true) {
        const { vms } = await teepodClient(await teepodAddress(options)).status({});
        print(
          options,
          vms.map((vm) => ({ vm })),
        );
        return;
      }
      if (options.host !== undefined || options.token !== undefined)
        throw new CliError("--all goes without --host and --token: each host has its own", 2);
      const { listed, failures } = await listAll(options);
      if (listed.length > 0 || failures.length === 0 || options.json === true) print(options, listed);
      // What answered is shown; that some did not is the command's failure.
      if (failures.length > 0) throw new CliError(failures.join("\ndstack: "));
    });
}

async function listAll(options: TeepodOptions): Promise<{ listed: Listed[]; failures: string[] }> {
  const hosts = new Map<string, () => Promise<TeepodAddress>>();
  const local = await localTeepod(options);
  if (local !== undefined) hosts.set("(local)", async () => local);
  for (const [name, host] of await readHosts())
    hosts.set(name, async () => ({ url: host.url, token: await tokenOf(host) }));
  if (hosts.size === 0)
    throw new CliError(
      "no host is known: `dstack host add <name> <url>` adds one, `dstack up` starts one here",
    );
  const failures: string[] = [];
  const lists = await Promise.all(
    [...hosts].map(async ([host, address]) => {
      try {
        const { vms } = await teepodClient(await address(), ALL_LIMIT_MS).status({});
        return vms.map((vm) => ({ vm, host }));
      } catch (err) {
        failures.push(`${host}: ${errorMessage(err)}`);
        return [];
      }
    }),
  );
  return { listed: lists.flat(), failures };
}

function print(options: TeepodOptions & { all?: boolean }, listed: readonly Listed[]): void {
  const rows = listed.map(({ vm, host }) => ({
    ...(host !== undefined && { host }),
    id: vm.id,
    name: vm.name,
    status: vm.status,
    uptime: vm.uptime,
    image: vm.configuration?.image ?? "",
    app_id: vm.appId,
    ...appUrls(vm),
    boot_progress: vm.bootProgress,
    boot_error: vm.bootError,
  }));
  printResult(options, rows, () => {
    if (listed.length === 0) return "no CVMs yet; `dstack deploy <docker-compose.yaml>` makes one";
    const table = listed.map(({ vm, host }) => {
      const app = appUrls(vm).app_url ?? vm.appId;
      const row = [vm.id.slice(0, 8), vm.name, stateOf(vm), vm.uptime, app];
      return host === undefined ? row : [host, ...row];
    });
    const head = ["ID", "NAME", "STATE", "UP", "APP"];
    const errors = listed
      .filter(({ vm }) => vm.bootError)
      .map(({ vm }) => `${printable(vm.name)}: ${printable(vm.bootError ?? "")}`);
    return [columns([options.all === true ? ["HOST", ...head] : head, ...table]), ...errors].join("\n");
  });
}
