import { join } from "node:path";
import { errorMessage, withDeadline } from "@dstack/core";
import { raTlsTransport } from "@dstack/ra-rpc";
import { RuntimeEventLog } from "@dstack/tdx-attest";
import type { GuestSystem } from "../guest-system.js";
import { certificateFor } from "../steps/boot-certificate.js";
import { bringUpTunnel, register } from "./register.js";
import { SAVED_TUNNEL, readSavedTunnel, writeSavedTunnel } from "./saved-tunnel.js";
import type { SavedTunnel } from "./saved-tunnel.js";
import type { Tunnel } from "./tunnel.js";

/** One node may take so long, a quote of an emulated machine included. */
const NODE_MS = 30_000;

/** What of the machine is needed here. */
export type RenewSystem = Pick<
  GuestSystem,
  "paths" | "openQuoteProvider" | "isDevelopmentImage" | "applyFirewall" | "openWireGuard" | "writeRunFile"
>;

/**
 * Registers again, at the first node that answers, and takes over what it says: our address, and all nodes.
 * @returns the URL of that node
 * @throws {Error} no node took the registration; the message has the reason of each
 */
export async function renewTunnel(system: RenewSystem, signal: AbortSignal): Promise<string> {
  const saved = await readSavedTunnel(join(system.paths.run, SAVED_TUNNEL));
  const provider = await system.openQuoteProvider(undefined, signal);
  const events = await RuntimeEventLog.open({ provider, path: system.paths.eventLog });
  // A certificate lasts a day, and the quote in it says what this VM was when it was made: another one each time.
  const { chainPem } = await certificateFor(saved.tlsKey, provider, events, saved, signal);
  const refusals: string[] = [];
  for (const url of saved.urls) {
    try {
      const tunnel = await withDeadline(
        "registering",
        NODE_MS,
        (stop) => at(url, saved, chainPem, events, stop),
        signal,
      );
      await bringUpTunnel(system, saved, tunnel, signal);
      await system.writeRunFile(
        SAVED_TUNNEL,
        writeSavedTunnel({ ...saved, urls: urlsOf(saved.urls[0] ?? url, tunnel) }),
      );
      return url;
    } catch (err) {
      signal.throwIfAborted();
      refusals.push(`${url}: ${errorMessage(err)}`);
    }
  }
  throw new Error(`no node of tproxy took the registration: ${refusals.join("; ")}`);
}

/** The one from the configuration first, then those that the nodes tell. */
export function urlsOf(first: string, tunnel: Tunnel): string[] {
  return [
    ...new Set([first, ...tunnel.servers.flatMap(({ rpcUrl }) => (rpcUrl === undefined ? [] : [rpcUrl]))]),
  ];
}

async function at(
  url: string,
  saved: SavedTunnel,
  certChain: string,
  events: RuntimeEventLog,
  signal: AbortSignal,
): Promise<Tunnel> {
  await using transport = raTlsTransport({ url, caPem: saved.caPem, key: saved.tlsKey, certChain });
  return await register(transport, events, saved, signal);
}
