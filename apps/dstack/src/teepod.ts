import { InputError, parseVmId, readRegularFileIfAny } from "@dstack/core";
import { teepod } from "@dstack/proto";
import { createClient, httpTransport } from "@dstack/prpc";
import { Home } from "./local/home.js";
import type { GlobalOptions } from "./output.js";
import { CliError } from "./output.js";

/** Options of every command that talks to a teepod. */
export interface TeepodOptions extends GlobalOptions {
  /** URL of the teepod; default: `DSTACK_TEEPOD_URL`, else the local installation's. */
  host?: string;
  /** Bearer token; default: `DSTACK_TEEPOD_TOKEN`, else the local installation's. */
  token?: string;
}

export interface TeepodAddress {
  url: string;
  token: string | undefined;
}

/** Which teepod a command means, by option, environment or local installation. */
export async function teepodAddress(options: TeepodOptions): Promise<TeepodAddress> {
  const url = options.host ?? process.env["DSTACK_TEEPOD_URL"];
  const token = options.token ?? process.env["DSTACK_TEEPOD_TOKEN"];
  if (url !== undefined) {
    if (!URL.canParse(url))
      throw new InputError(`--host must be a URL such as http://127.0.0.1:9080, not ${url}`);
    return { url: url.replace(/\/+$/, ""), token };
  }
  const home = await Home.openIfAny(Home.locate(options.home));
  if (home?.state.ports === undefined) {
    throw new CliError("no teepod is known: give --host <url>, or run `dstack up` to start one here");
  }
  const saved = await readRegularFileIfAny(home.path("teepod.token"), 4096);
  return {
    url: `http://127.0.0.1:${home.ports.teepod}`,
    token: token ?? (saved === undefined ? undefined : new TextDecoder().decode(saved).trim()),
  };
}

export function authHeaders(address: TeepodAddress): Record<string, string> {
  return address.token === undefined ? {} : { authorization: `Bearer ${address.token}` };
}

/** A client of the Teepod service. */
export function teepodClient(address: TeepodAddress) {
  return createClient(teepod.Teepod, httpTransport({ baseUrl: address.url, headers: authHeaders(address) }));
}
export type TeepodClient = ReturnType<typeof teepodClient>;

/**
 * The VM a person means by id, unique id prefix (8 digits or more), name, or app id.
 * @throws {CliError} none, or several
 */
export async function findVm(client: TeepodClient, wanted: string): Promise<teepod.VmInfo> {
  const { vms } = await client.status({});
  const exact = vms.filter((vm) => vm.id === wanted);
  const matches = exact.length > 0 ? exact : vms.filter((vm) => isMeant(vm, wanted));
  const [vm, ...others] = matches;
  if (vm === undefined) throw new CliError(`no VM is called ${wanted}; \`dstack ls\` shows what there is`);
  if (others.length > 0)
    throw new CliError(
      `${matches.length} VMs match ${wanted}: use the id of one (${matches.map((v) => v.id).join(", ")})`,
    );
  parseVmId(vm.id);
  return vm;
}

function isMeant(vm: teepod.VmInfo, wanted: string): boolean {
  return vm.name === wanted || vm.appId === wanted || (wanted.length >= 8 && vm.id.startsWith(wanted));
}
