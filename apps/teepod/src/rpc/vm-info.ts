import type { MessageInitShape } from "@bufbuild/protobuf";
import { appPort } from "@dstack/app-compose";
import type { teepod } from "@dstack/proto";
import type { TeepodContext } from "../context.js";
import { parseAppCompose } from "../vm/app-compose.js";
import { currentInstanceInfo } from "../vm/launch-files.js";
import { etagOf } from "../vm/manifest.js";
import type { Manifest } from "../vm/manifest.js";
import { readProgress } from "../vm/progress.js";
import type { VmState } from "../vm/state.js";
import type { Vm } from "../vm/vm.js";

type VmInfoInit = MessageInitShape<typeof teepod.VmInfoSchema>;

/** A duration for people: `1d 2h 3m 4s`, without the parts that are zero. */
export function formatUptime(ms: number): string {
  const seconds = Math.max(0, Math.floor(ms / 1000));
  const parts: [number, string][] = [
    [Math.floor(seconds / 86_400), "d"],
    [Math.floor(seconds / 3600) % 24, "h"],
    [Math.floor(seconds / 60) % 60, "m"],
    [seconds % 60, "s"],
  ];
  const text = parts.filter(([n]) => n > 0).map(([n, unit]) => `${n}${unit}`);
  return text.join(" ") || "0s";
}

/** The state for clients, and what there is to say about it. */
export function describeState(state: VmState): { status: string; notice?: string } {
  if (state.at === "stopped") return { status: state.at };
  if (state.at === "exited") {
    return { status: state.at, ...(state.last.reason !== undefined && { notice: state.last.reason }) };
  }
  const { pause } = state.vm;
  if (pause === undefined) return { status: state.at };
  return { status: state.at === "running" ? "paused" : state.at, notice: pause.sentence };
}

function uptime(state: VmState, now: Date): string {
  if (state.at === "running" || state.at === "stopping") {
    return formatUptime(now.getTime() - state.vm.startedAt.getTime());
  }
  return "-";
}

function usesTproxy(manifest: Manifest): boolean {
  try {
    return parseAppCompose(manifest.compose_file).features?.includes("tproxy-net") ?? false;
  } catch {
    return false; // taken by an older teepod; one VM must not spoil the list of all
  }
}

/**
 * The app's dashboard through the gateway, `https://<app_id>-<tappd port>.<base domain>[:<port>]`; none without a
 * gateway or for an app that does not join it.
 */
export function appUrl(context: Pick<TeepodContext, "config">, manifest: Manifest): string | undefined {
  const { gateway } = context.config;
  if (gateway === undefined || !usesTproxy(manifest)) return undefined;
  const port = gateway.port === 443 ? "" : `:${gateway.port}`;
  return `https://${manifest.app_id}-${gateway.tappd_port}.${gateway.base_domain}${port}`;
}

function configuration(manifest: Manifest): NonNullable<VmInfoInit["configuration"]> {
  return {
    name: manifest.name,
    image: manifest.image,
    composeFile: manifest.compose_file,
    vcpu: manifest.vcpu,
    memory: manifest.memory_mb,
    diskSize: manifest.disk_gb,
    ports: manifest.ports.map((p) => ({ protocol: p.protocol, hostPort: p.host_port, vmPort: p.vm_port })),
    encryptedEnv: manifest.encrypted_env,
    ...(manifest.app_id_given && { appId: manifest.app_id }),
  };
}

/** The compose file in its document; nothing of one that an older teepod took and this one would not. */
function dockerCompose(manifest: Manifest): string {
  try {
    return parseAppCompose(manifest.compose_file).docker_compose_file ?? "";
  } catch {
    return "";
  }
}

const ports = new WeakMap<Manifest, number>();

/** Lists are made every second; a manifest never changes, it is replaced. */
function portOfApp(manifest: Manifest): number {
  let port = ports.get(manifest);
  if (port === undefined) {
    port = appPort(dockerCompose(manifest));
    ports.set(manifest, port);
  }
  return port;
}

/** A VM as clients see it. */
export async function vmInfo(context: TeepodContext, vm: Vm): Promise<VmInfoInit> {
  const { manifest, state } = vm;
  const instance = await currentInstanceInfo(vm.dir, context.log);
  const boot = await readProgress(vm.statusDir);
  const last = "last" in state ? state.last : undefined;
  const url = appUrl(context, manifest);
  const error = vm.runs ? boot.error : last?.bootError;
  return {
    id: manifest.id,
    name: manifest.name,
    ...describeState(state),
    uptime: uptime(state, context.clock.now()),
    appId: manifest.app_id,
    configuration: configuration(manifest),
    etag: etagOf(manifest),
    appPort: portOfApp(manifest),
    ...(url !== undefined && { appUrl: url }),
    ...(instance?.instanceId !== undefined && { instanceId: instance.instanceId }),
    ...(last !== undefined && { exitedAt: last.exitedAt.toISOString() }),
    ...(boot.progress !== undefined && { bootProgress: boot.progress }),
    ...(error !== undefined && { bootError: error }),
  };
}

/** All VMs as clients see them, oldest first. */
export async function allVmInfos(context: TeepodContext): Promise<VmInfoInit[]> {
  return Promise.all(context.vms.list().map((vm) => vmInfo(context, vm)));
}
