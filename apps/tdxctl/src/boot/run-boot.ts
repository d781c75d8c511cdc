import type { AppId, InstanceId } from "@dstack/core";
import { RuntimeEventLog } from "@dstack/tdx-attest";
import { openEnvironment } from "./environment.js";
import type { GuestSystem } from "./guest-system.js";
import { SYSTEM_READY } from "./identity.js";
import { Stepper } from "./step.js";
import { makeBootCertificate } from "./steps/boot-certificate.js";
import { startCompose, startEngine } from "./steps/compose.js";
import { openDataDisk } from "./steps/data-disk.js";
import { fetchAppKeys } from "./steps/kms.js";
import { measureIdentity } from "./steps/measure-identity.js";
import { readHostShare } from "./steps/read-share.js";
import { startTappd } from "./steps/tappd.js";
import { joinTunnel } from "./steps/wireguard.js";

export interface BootOptions {
  /** Stops the boot. */
  readonly signal?: AbortSignal;
}

export interface BootResult {
  readonly appId: AppId;
  readonly instanceId: InstanceId;
}

/** Limits are for a machine that emulates every instruction; on hardware each step takes a fraction. */
const SECOND_MS = 1000;

/**
 * The guest's start-up (docs/architecture.md, steps 4 to 9): one step after the other up to `system-ready`, after it
 * tappd and the app's containers side by side.
 * @throws {BootError} naming the step that failed. What was done until then stays done: the caller ends the machine.
 */
export async function runBoot(system: GuestSystem, options: BootOptions = {}): Promise<BootResult> {
  // A step that fails ends those beside it.
  const failed = new AbortController();
  const stop = AbortSignal.any([failed.signal, ...(options.signal === undefined ? [] : [options.signal])]);
  try {
    return await boot(system, new Stepper(system, stop), stop);
  } catch (err) {
    failed.abort(err);
    throw err;
  }
}

async function boot(system: GuestSystem, steps: Stepper, stop: AbortSignal): Promise<BootResult> {
  await steps.run("prepare", 60 * SECOND_MS, (signal) => system.prepare(signal));
  const host = await steps.run("read-share", 30 * SECOND_MS, (signal) => readHostShare(system, signal));
  const { provider, identity } = await steps.run("identity", 120 * SECOND_MS, (signal) =>
    measureIdentity(system, host, signal),
  );
  const events = await RuntimeEventLog.open({ provider, path: system.paths.eventLog });
  const certificate = await steps.run("ra-tls", 120 * SECOND_MS, (signal) =>
    makeBootCertificate(provider, events, identity, signal),
  );
  const peers = { system, steps, certificate, caPem: host.caPem };
  const keys = await steps.run("kms", 180 * SECOND_MS, (signal) =>
    fetchAppKeys({ ...peers, url: host.config.kmsUrl, appId: identity.appId, events }, signal),
  );
  const disk = await steps.run("data-disk", 300 * SECOND_MS, (signal) =>
    openDataDisk(
      system,
      { key: keys.diskKey, identity, bootstrapped: host.instanceInfo.bootstrapped },
      signal,
    ),
  );
  // The engine restarts the containers that it finds on the disk, and none may run before `system-ready` is measured
  // (E5). On a disk made a moment ago there are none: there it starts while we go on.
  const startDocker = (signal: AbortSignal): Promise<void> =>
    startEngine(system, { mirror: host.config.dockerRegistry, identity }, signal);
  const early = disk.fresh ? startEarly(startDocker, stop) : undefined;

  const environment = await steps.run("environment", 30 * SECOND_MS, async () =>
    openEnvironment(keys.envKey, host.encryptedEnv, host.compose),
  );
  if (host.compose.usesTproxy) {
    const { proxyProtocolPorts, publicPorts } = host.compose;
    await steps.run("wireguard", 180 * SECOND_MS, (signal) =>
      joinTunnel(
        { ...peers, url: host.config.tproxyUrl, provider, events, identity, proxyProtocolPorts, publicPorts },
        signal,
      ),
    );
  }
  await steps.run("system-ready", 60 * SECOND_MS, async () => {
    await events.extend(SYSTEM_READY.name, SYSTEM_READY.payload);
  });
  // Under emulation, with other VMs on the host, starting tappd and Docker has taken more than two minutes.
  const tappd = steps.run("tappd", 300 * SECOND_MS, (signal) =>
    startTappd(system, { host, keys, identity }, signal),
  );
  await Promise.all([
    tappd,
    steps.run("compose", 900 * SECOND_MS, async (signal) => {
      await (early ?? startDocker(signal));
      // systemd holds the classic sockets from the start; the engine would make directories where these are missing.
      if (host.compose.hasScopedSockets) await tappd;
      await startCompose(system, host.compose, environment, signal);
    }),
  ]);
  if (host.compose.usesTproxy) await system.watchTunnel(stop);
  await steps.ready();
  return { appId: identity.appId, instanceId: identity.instanceId };
}

/** Whoever needs the result awaits it; until then its failure is nobody's unhandled one. */
function startEarly(start: (signal: AbortSignal) => Promise<void>, signal: AbortSignal): Promise<void> {
  const started = start(signal);
  started.catch(() => {});
  return started;
}
