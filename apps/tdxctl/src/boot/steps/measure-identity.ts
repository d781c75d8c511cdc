import { randomBytes } from "node:crypto";
import { InputError } from "@dstack/core";
import { RuntimeEventLog } from "@dstack/tdx-attest";
import type { QuoteProvider } from "@dstack/tdx-attest";
import type { GuestSystem } from "../guest-system.js";
import { SYSTEM_PREPARING, decideIdentity, identityEvents, rootfsHashOf } from "../identity.js";
import type { Identity } from "../identity.js";
import type { HostShare } from "./read-share.js";

/**
 * Decides who this guest is and extends RTMR3 by it.
 * @throws {DeviceError} no platform, or the register does not do what it should
 * @throws {InputError} an earlier boot step has measured something already
 */
export async function measureIdentity(
  system: GuestSystem,
  host: HostShare,
  signal: AbortSignal,
): Promise<{ provider: QuoteProvider; identity: Identity }> {
  const provider = await system.openQuoteProvider(host.simulator, signal);
  const events = await RuntimeEventLog.open({ provider, path: system.paths.eventLog });
  if ((await events.entries()).length > 0)
    throw new InputError("RTMR3 has been extended before: this machine has booted");
  await events.extend(SYSTEM_PREPARING.name, SYSTEM_PREPARING.payload);
  const identity = decideIdentity({
    compose: host.compose,
    info: host.instanceInfo,
    rootfsHash: rootfsHashOf(await system.commandLine()),
    caCertDer: host.caDer,
    salt: randomBytes(20),
  });
  for (const { name, payload } of identityEvents(identity)) await events.extend(name, payload);
  return { provider, identity };
}
