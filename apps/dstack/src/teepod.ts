import { parseVmId, readRegularFileIfAny } from "@dstack/core";
import { teepod } from "@dstack/proto";
import { createClient, httpTransport } from "@dstack/prpc";
import { readHosts, tokenOf } from "./hosts.js";
import type { Host } from "./hosts.js";
import { Home } from "./local/home.js";
import type { GlobalOptions } from "./output.js";
import { CliError } from "./output.js";
import { toldTransport } from "./told-transport.js";

/** Options of every command that talks to a teepod. */
export interface TeepodOptions extends GlobalOptions {
  /** Name of a host (`hosts.toml`) or URL of a teepod; default: `DSTACK_TEEPOD_URL`, else the local installation's. */
  host?: string;
  /** Bearer token; default: `DSTACK_TEEPOD_TOKEN`, else the local installation's. */
  token?: string;
}

export interface TeepodAddress {
  url: string;
  token: string | undefined;
}

const namedTeepod = ({ host }: TeepodOptions): string | undefined => host ?? process.env["DSTACK_TEEPOD_URL"];

/** Whether a command means the local installation's teepod: neither option nor environment names one. */
export const meansLocalTeepod = (options: TeepodOptions): boolean => namedTeepod(options) === undefined;

/** Which teepod a command means, by option, environment or local installation. */
export async function teepodAddress(options: TeepodOptions): Promise<TeepodAddress> {
  const wanted = namedTeepod(options);
  if (wanted === undefined) {
    const local = await localTeepod(options);
    if (local === undefined)
      throw new CliError(
        "no teepod is known: give --host <url or name>, or run `dstack up` to start one here",
      );
    return { ...local, token: options.token ?? process.env["DSTACK_TEEPOD_TOKEN"] ?? local.token };
  }
  const hosts = await readHosts();
  const named = hosts.get(wanted);
  if (named !== undefined) {
    return {
      url: trimmed(named.url),
      // What was set up for this host comes before what the environment says of teepods in general.
      token: options.token ?? (await tokenOf(named)) ?? tokenOfEnvironment(named.url, hosts),
    };
  }
  if (!URL.canParse(wanted) || !/^https?:$/.test(new URL(wanted).protocol)) {
    throw new CliError(
      `--host must be a URL such as http://127.0.0.1:9080 or a name that \`dstack host ls\` knows, not ${wanted}`,
      2,
    );
  }
  return { url: trimmed(wanted), token: options.token ?? tokenOfEnvironment(wanted, hosts) };
}

/** `DSTACK_TEEPOD_TOKEN`, which is the teepod's of `DSTACK_TEEPOD_URL` where that is set: another host does not get it. */
function tokenOfEnvironment(url: string, hosts: ReadonlyMap<string, Host>): string | undefined {
  const its = process.env["DSTACK_TEEPOD_URL"];
  const meant = its === undefined || trimmed(hosts.get(its)?.url ?? its) === trimmed(url);
  return meant ? process.env["DSTACK_TEEPOD_TOKEN"] : undefined;
}

/** The local installation's teepod, if there is one. */
export async function localTeepod(options: GlobalOptions): Promise<TeepodAddress | undefined> {
  const home = await Home.openIfAny(Home.locate(options.home));
  if (home?.state.ports === undefined) return undefined;
  const saved = await readRegularFileIfAny(home.path("teepod.token"), 4096);
  return {
    url: `http://127.0.0.1:${home.ports.teepod}`,
    token: saved === undefined ? undefined : new TextDecoder().decode(saved).trim(),
  };
}

/** A client of this installation's teepod, whatever other teepod the environment names. */
export async function localClient(home: Home): Promise<TeepodClient> {
  const address = await localTeepod({ home: home.dir });
  if (address === undefined) throw new CliError(`nothing is set up in ${home.dir}; \`dstack up\` does it`);
  return teepodClient(address);
}

const trimmed = (url: string): string => url.replace(/\/+$/, "");

export function authHeaders(address: TeepodAddress): Record<string, string> {
  return address.token === undefined ? {} : { authorization: `Bearer ${address.token}` };
}

/** Starting QEMU is the longest thing a teepod does before it answers. */
const CALL_LIMIT_MS = 60_000;

/** `DSTACK_TIMEOUT`: seconds that a teepod's answer is waited for. @throws {CliError} it is no such number */
function callLimitMs(): number {
  const given = process.env["DSTACK_TIMEOUT"];
  if (given === undefined || given === "") return CALL_LIMIT_MS;
  if (!/^[1-9]\d{0,3}$/.test(given))
    throw new CliError(`DSTACK_TIMEOUT must be a whole number of seconds up to 9999, not ${given}`, 2);
  return Number(given) * 1000;
}

/** A client of the Teepod service. What keeps it from being reached is told in a sentence, after a minute at most. */
export function teepodClient(address: TeepodAddress, limitMs = callLimitMs()) {
  const http = httpTransport({ baseUrl: address.url, headers: authHeaders(address) });
  const transport = toldTransport(http, {
    ...{ kind: "teepod", address: address.url, limitMs },
    whenUnreachable: "; `dstack status` tells whether the local one runs, --host names another",
    whenUnauthenticated: "give --token or set DSTACK_TEEPOD_TOKEN",
  });
  return createClient(teepod.Teepod, transport);
}

export type TeepodClient = ReturnType<typeof teepodClient>;

/** Where an app is reached, and its dashboard; nothing for one that does not join the gateway. */
export function appUrls(vm: teepod.VmInfo | undefined): { app_url?: string; dashboard_url?: string } {
  if (!vm?.appUrl) return {};
  // teepod gives the dashboard, which is the app's name with the agent's port.
  // A teepod older than this field gives none.
  const port = vm.appPort === 0 || vm.appPort === 80 ? "" : `-${vm.appPort}`;
  const app = vm.appUrl.replace(/^(https:\/\/[0-9a-f]{40})-\d+\./, `$1${port}.`);
  return { app_url: app, dashboard_url: vm.appUrl };
}

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
