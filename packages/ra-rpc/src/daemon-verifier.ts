import { Counter } from "@dstack/daemon";
import type { Logger, Registry } from "@dstack/daemon";
import { COLLATERAL_EVENT_KINDS, PeerVerifier, describeCollateralEvent } from "@dstack/ra-tls";
import type { AttestationConfig } from "@dstack/ra-tls";

/**
 * The verifier of a daemon, from the section `[attestation]` of its configuration. What happens with collateral is logged
 * and counted: a mirror that fails, or that serves old documents, is to be seen before what is cached runs out.
 * @param daemon.signal until it aborts, collateral is refreshed also when no peer comes
 * @throws the errors of `PeerVerifier.create`
 */
export async function createDaemonVerifier(
  config: AttestationConfig,
  daemon: { readonly log: Logger; readonly registry: Registry; readonly signal: AbortSignal },
): Promise<PeerVerifier> {
  const events = new Counter({
    name: "attestation_collateral_events_total",
    help: "Collateral fetched, not to be had, older than seen before, unusable in the cache, or not saved",
    labelNames: ["kind"],
    registers: [daemon.registry],
  });
  for (const kind of COLLATERAL_EVENT_KINDS) events.inc({ kind }, 0);
  return PeerVerifier.create(config, {
    signal: daemon.signal,
    onCollateralEvent: (event) => {
      events.inc({ kind: event.kind });
      const { level, fields, message } = describeCollateralEvent(event);
      daemon.log[level](fields, message);
    },
  });
}
