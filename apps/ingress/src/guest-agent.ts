import { existsSync } from "node:fs";
import { InputError, hex } from "@dstack/core";
import { dstackGuest, tappd } from "@dstack/proto";
import { type Transport, createClient, unixTransport } from "@dstack/prpc";

/** A quote in the form it is published in: that of `Tappd.RawQuote?json`. */
export interface QuoteDocument {
  /** Hex. */
  readonly quote: string;
  /** JSON array text. */
  readonly event_log: string;
}

/** The guest's agent, which is asked over a unix socket mounted into this container. Failures are {@link RpcError}s. */
export interface GuestAgent {
  /** 40 hex digits. */
  appId(signal: AbortSignal): Promise<string>;
  /** @param reportData 64 bytes, which the quote carries as they are */
  quote(reportData: Uint8Array, signal: AbortSignal): Promise<QuoteDocument>;
}

export const TAPPD_SOCKET = "/var/run/tappd.sock";
export const DSTACK_SOCKET = "/var/run/dstack.sock";

/**
 * The agent by whichever socket is mounted, the newer one first.
 * @throws {InputError} there is none
 */
export function openGuestAgent(paths = { dstack: DSTACK_SOCKET, tappd: TAPPD_SOCKET }): GuestAgent {
  if (existsSync(paths.dstack)) return dstackAgent(unixTransport(paths.dstack));
  if (existsSync(paths.tappd)) return tappdAgent(unixTransport(paths.tappd));
  const volume = `${paths.tappd}:${paths.tappd}`;
  throw new InputError(
    `there is no ${paths.tappd}: without it nothing can be quoted. Add "${volume}" to the service's volumes`,
  );
}

function dstackAgent(transport: Transport): GuestAgent {
  const agent = createClient(dstackGuest.DstackGuest, transport);
  return {
    appId: async (signal) => (await agent.info({}, { signal })).appId,
    async quote(reportData, signal) {
      const { quote, eventLog } = await agent.getQuote({ reportData }, { signal });
      return { quote: hex(quote), event_log: eventLog };
    },
  };
}

function tappdAgent(transport: Transport): GuestAgent {
  const agent = createClient(tappd.Tappd, transport);
  return {
    appId: async (signal) => (await agent.info({}, { signal })).appId,
    async quote(reportData, signal) {
      const { quote, eventLog } = await agent.rawQuote({ reportData }, { signal });
      return { quote: hex(quote), event_log: eventLog };
    },
  };
}
