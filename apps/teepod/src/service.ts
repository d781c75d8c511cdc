import { join } from "node:path";
import {
  ResourceStack,
  addHealthAndMetrics,
  createApp,
  createLogger,
  createRegistry,
  listenHttp,
} from "@dstack/daemon";
import type { Listener, Logger } from "@dstack/daemon";
import { Watch, addDashboard, addEvents } from "@dstack/dashboard";
import type { PageFiles } from "@dstack/dashboard";
import { mountPrpc } from "@dstack/prpc";
import type { FastifyRequest } from "fastify";
import { systemClock } from "./clock.js";
import type { Clock } from "./clock.js";
import { vmLimits } from "./config.js";
import type { TeepodConfig } from "./config.js";
import type { TeepodContext } from "./context.js";
import { pageFiles } from "./dashboard/files.js";
import type { HostFacts } from "./dashboard/hello.js";
import type { Item } from "./dashboard/items.js";
import { vmSummaries } from "./dashboard/vm-summary.js";
import { loadGuestMaterial } from "./guest-material.js";
import { addAuditFile } from "./http/audit-file.js";
import { AuditLog } from "./http/audit-log.js";
import { addLogs } from "./http/logs.js";
import { loadTokens } from "./http/tokens.js";
import { addVmList } from "./http/vm-list.js";
import { cachedAcceleration } from "./hypervisor/acceleration.js";
import type { AccelerationChoice } from "./hypervisor/acceleration.js";
import type { Hypervisor } from "./hypervisor/hypervisor.js";
import { QemuHypervisor } from "./hypervisor/qemu.js";
import { ImageStore } from "./images/image-store.js";
import { kmsEnvKeys, kmsUrlOfHost } from "./kms/env-key.js";
import type { EnvKeySource } from "./kms/env-key.js";
import { addVmMetrics } from "./metrics.js";
import { OtherHosts } from "./other-hosts/other-hosts.js";
import { teepodService } from "./rpc/service.js";
import { VERSION } from "./version.js";
import { lockRunPath } from "./run-path-lock.js";
import { freeSpace } from "./vm/disk-space.js";
import type { FreeSpace } from "./vm/disk-space.js";
import { VmManager } from "./vm/vm-manager.js";
import { VmStore } from "./vm/vm-store.js";

/** What a test or a testbed puts in place of the real thing. */
export interface TeepodParts {
  readonly hypervisor: Hypervisor;
  readonly clock: Clock;
  readonly envKeys: EnvKeySource;
  readonly freeSpace: FreeSpace;
  /** The dashboard's files, instead of the ones that were built last. */
  readonly page: PageFiles;
  readonly log: Logger;
}

/** A teepod that serves. Disposing it ends the service; its VMs run on. */
export interface Teepod extends AsyncDisposable {
  readonly address: string;
  readonly port: number;
  /** `http://<address>:<port>` */
  readonly url: string;
}

/** The acceleration of this host's VMs: the configured one, or what the probe finds. */
export async function acceleration(
  config: TeepodConfig,
  runPath: string,
  options: { fresh?: boolean } = {},
): Promise<AccelerationChoice> {
  const { accel } = config.cvm;
  if (accel !== "auto") return { acceleration: accel, reason: `the configuration says accel = "${accel}"` };
  return cachedAcceleration(config.qemu_path, join(runPath, ".acceleration.json"), options);
}

async function qemu(config: TeepodConfig, runPath: string, log: Logger): Promise<Hypervisor> {
  const choice = await acceleration(config, runPath);
  log.info(choice, "acceleration chosen");
  return new QemuHypervisor({
    qemu: config.qemu_path,
    acceleration: choice.acceleration,
    qgsPort: config.cvm.qgs_port,
    log,
  });
}

async function openVms(
  config: TeepodConfig,
  parts: Partial<TeepodParts>,
  given: { store: VmStore; images: ImageStore; clock: Clock; log: Logger },
): Promise<VmManager> {
  const { cvm, port_mapping: ports, log: logs } = config;
  return VmManager.open(
    {
      ...given,
      hypervisor: parts.hypervisor ?? (await qemu(config, given.store.root, given.log)),
      material: await loadGuestMaterial(cvm),
      freeSpace: parts.freeSpace ?? freeSpace,
    },
    {
      limits: vmLimits(config),
      cids: { start: cvm.cid_start, size: cvm.cid_pool_size },
      portAddress: ports.address,
      logLimits: { maxBytes: logs.max_bytes, backups: logs.backups },
      shutdownMs: cvm.shutdown_timeout_seconds * 1000,
      reserveBytes: cvm.min_free_disk_mb * 2 ** 20,
    },
  );
}

/** For all requests but those with a compose document: an id and a few numbers. */
const SMALL_BODY_BYTES = 16 * 1024;

/** How often the VMs of a watched list are looked at. */
const LOOK_EVERY_MS = 1_000;

function hostFacts({ config, vms }: TeepodContext): HostFacts {
  const { port_mapping: ports } = config;
  const limits = vmLimits(config);
  return {
    version: VERSION,
    hypervisor: vms.parts.hypervisor.description,
    simulated: config.cvm.simulator_seed_file !== undefined,
    port_mapping: {
      enabled: ports.enabled,
      ranges: ports.ranges.map(({ protocol, from, to }) => `${protocol} ${from} to ${to}`),
    },
    limits: { vcpu: limits.maxVcpu, memory: limits.maxMemoryMb, disk_size: limits.maxDiskGb },
  };
}

async function listen(
  context: TeepodContext,
  others: OtherHosts,
  page: PageFiles,
  closing: AbortSignal,
): Promise<Listener> {
  const { config, vms, audit, clock, log } = context;
  const facts = hostFacts(context);
  const registry = createRegistry();
  addVmMetrics(registry, vms, facts);

  const app = createApp({ log, bodyLimit: SMALL_BODY_BYTES });
  const access = await addDashboard(app, {
    program: "teepod",
    files: page,
    tokens: await loadTokens(config.auth),
    sessionsFile: join(vms.parts.store.root, "sessions.json"),
    onLogin: ({ name, role }, { ip, id }) =>
      audit.append({
        who: name,
        role,
        from: ip,
        request: id,
        method: "Login",
        vm: "",
        outcome: "done",
      }),
    publicRoutes: ["/healthz"],
    clock,
    log,
  });
  addHealthAndMetrics(app, { registry });
  const watch = new Watch<Item>(
    async () => [
      ...(await vmSummaries(context)).map((vm) => ({ kind: "vm" as const, ...vm })),
      ...others.items(),
    ],
    systemClock,
    LOOK_EVERY_MS,
    (err) => log.error({ err }, "cannot look at the VMs for the dashboard"),
  );
  const you = (request: FastifyRequest) => {
    const { name, role } = access.callerOf(request);
    return { name, role };
  };
  addEvents(app, { hello: (request) => ({ host: facts, you: you(request) }), watch, access, closing });
  addVmList(app, context, access);
  addLogs(app, vms, access, closing);
  addAuditFile(app, audit, closing);
  mountPrpc(app, [teepodService(context)], { peer: (request) => ({ peer: you(request) }) });
  return listenHttp({ app, address: { host: config.host, port: config.port } });
}

/** Starts the VM manager: takes up the VMs under `run_path` and serves the API. */
export async function startTeepod(config: TeepodConfig, parts: Partial<TeepodParts> = {}): Promise<Teepod> {
  await using stack = new ResourceStack();
  const log = parts.log ?? createLogger({ name: "teepod", level: config.log_level });
  const clock = parts.clock ?? systemClock;
  if (config.cvm.simulator_seed_file !== undefined) {
    log.warn("development images run on a simulated TDX platform: nothing in them is protected");
  }

  const runPath = await VmStore.prepare(config.run_path);
  stack.use(await lockRunPath(runPath));
  const store = await VmStore.open(runPath, log);
  const images = new ImageStore(config.image_path, log);
  const audit = stack.use(await AuditLog.open(join(runPath, "audit.log"), clock, log));
  const vms = stack.use(await openVms(config, parts, { store, images, clock, log }));
  const envKeys = parts.envKeys ?? stack.use(defaultEnvKeys(config, vms));
  // Asked by this machine's clock: a test that drives its own has no time for other hosts' answers.
  const others = stack.use(await OtherHosts.open(config.other_hosts, { clock: systemClock, log }));
  const closing = new AbortController();
  const listener = stack.use(
    await listen(
      { config, vms, images, envKeys, audit, clock, log },
      others,
      parts.page ?? (await pageFiles()),
      closing.signal,
    ),
  );
  stack.defer(() => closing.abort());
  const resources = stack.move();
  const host = listener.address.includes(":") ? `[${listener.address}]` : listener.address;
  return {
    address: listener.address,
    port: listener.port,
    url: `http://${host}:${listener.port}`,
    [Symbol.asyncDispose]: () => resources[Symbol.asyncDispose](),
  };
}

function defaultEnvKeys(config: TeepodConfig, vms: VmManager): EnvKeySource {
  const url = config.cvm.host_kms_url ?? kmsUrlOfHost(config.cvm.kms_url);
  return kmsEnvKeys(url, vms.parts.material.certificates.caCert);
}
