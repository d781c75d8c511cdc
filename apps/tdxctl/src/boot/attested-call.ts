import { InputError, sleep } from "@dstack/core";
import { RpcError } from "@dstack/prpc";
import { raTlsTransport } from "@dstack/ra-rpc";
import type { RaTlsTransport } from "@dstack/ra-rpc";
import type { GuestSystem } from "./guest-system.js";
import type { StepName, Stepper } from "./step.js";
import type { BootCertificate } from "./steps/boot-certificate.js";

/** What every call to a service outside needs. */
export interface AttestedPeer {
  readonly system: GuestSystem;
  readonly steps: Stepper;
  readonly certificate: BootCertificate;
  /** The server must chain to this CA, the one that is measured as `ca-cert-hash`. */
  readonly caPem: string;
  /** From the host; anyone may answer there, which is why the CA is pinned. */
  readonly url: string | undefined;
}

const RETRY_MS = 1000;
/** Less than the limit of the steps that call: the reason is worth more than "took too long". */
const GIVE_UP_MS = 120_000;

/**
 * Calls a service over RA-TLS with our evidence. A service that cannot be reached yet is tried again for two
 * minutes; an answer, also a refusal, is final.
 * @throws {InputError} no address was given
 * @throws {RpcError} the service refused; the message is its own
 */
export async function attestedCall<T>(
  peer: AttestedPeer,
  what: { step: StepName; service: string; urlKey: string },
  call: (transport: RaTlsTransport) => Promise<T>,
  signal: AbortSignal,
): Promise<T> {
  const { url } = peer;
  if (url === undefined) throw new InputError(`config.json has no ${what.urlKey}`);
  await peer.system.waitForNetwork(signal);
  await using transport = raTlsTransport({
    url,
    caPem: peer.caPem,
    key: peer.certificate.keyPem,
    certChain: peer.certificate.chainPem,
  });
  const giveUpAt = performance.now() + GIVE_UP_MS;
  for (let told = false; ; told = true) {
    try {
      return await call(transport);
    } catch (err) {
      if (!(err instanceof RpcError)) throw err;
      if (err.code !== "unavailable") {
        throw new RpcError(err.code, `the ${what.service} refused: ${err.message}`, { cause: err });
      }
      if (performance.now() > giveUpAt) {
        throw new RpcError("unavailable", `the ${what.service} at ${url} cannot be reached: ${err.message}`, {
          cause: err,
        });
      }
      if (!told)
        await peer.steps.info(what.step, `the ${what.service} at ${url} does not answer yet: ${err.message}`);
      await sleep(RETRY_MS, signal);
    }
  }
}
