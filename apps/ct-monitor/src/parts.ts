import { InputError, errorMessage, hex, readRegularFile, sha256 } from "@dstack/core";
import type { Logger, ResourceStack } from "@dstack/daemon";
import { raTlsAgent } from "@dstack/ra-rpc";
import { PeerVerifier, describeCollateralEvent, pemToDer, splitPem } from "@dstack/ra-tls";
import type { Dispatcher } from "undici";
import type { Alert } from "./alerts.js";
import type { CtMonitorConfig } from "./config.js";
import type { KeyJudge } from "./known-keys.js";
import { tellWebhook } from "./webhook.js";

const MAX_PEM_BYTES = 256 * 1024;
const MAX_SECRET_BYTES = 4096;

/** Whose word counts for a key, by the configuration. @param given in place of the configured verifier */
export async function keyJudge(
  config: CtMonitorConfig,
  given: PeerVerifier | undefined,
  log: Logger,
  signal: AbortSignal,
): Promise<KeyJudge> {
  if (config.attestation === undefined) {
    log.warn("INSECURE: keys are taken on tproxy's word; whoever runs its host can add any");
    return { by: "trust" };
  }
  const verifier =
    given ??
    (await PeerVerifier.create(config.attestation, {
      signal,
      onCollateralEvent: (event) => {
        const { level, fields, message } = describeCollateralEvent(event);
        log[level](fields, message);
      },
    }));
  if (verifier.simulatedRoots.length > 0) {
    log.warn(
      "INSECURE: simulated platforms are trusted; whoever has their seed can make evidence for any key",
    );
  }
  if (verifier.policy.images.allow_all) log.warn("INSECURE: allow_all = true, any image's evidence counts");
  const kmsCa = await readText("kms_ca", config.kms_ca ?? config.tproxy_ca ?? "", MAX_PEM_BYTES);
  return {
    by: "evidence",
    verifier,
    composeHashes: config.tproxy_compose_hashes,
    kmsCaHashes: splitPem(kmsCa).map((pem) => hex(sha256(pemToDer(pem)))),
  };
}

/** Without a CA of their own tproxies are reached as any web server, by the system's roots. */
export async function reachTproxies(
  { tproxy_url: urls, tproxy_ca: ca }: CtMonitorConfig,
  stack: ResourceStack,
): Promise<Map<string, Dispatcher | undefined>> {
  if (ca === undefined) return new Map(urls.map((url) => [url, undefined]));
  const caPem = await readText("tproxy_ca", ca, MAX_PEM_BYTES);
  return new Map(
    urls.map((url) => {
      const agent = raTlsAgent({ url, caPem });
      stack.defer(() => agent.destroy());
      return [url, agent];
    }),
  );
}

/** Hands an alert to the configured webhook. */
export async function teller({ webhook, domain }: CtMonitorConfig) {
  if (webhook === undefined) return undefined;
  const secret =
    webhook.secret_file === undefined
      ? undefined
      : (await readText("webhook.secret_file", webhook.secret_file, MAX_SECRET_BYTES)).trim();
  return (alert: Alert, signal: AbortSignal) =>
    tellWebhook({ url: webhook.url, secret }, domain, alert, signal);
}

async function readText(key: string, path: string, maxBytes: number): Promise<string> {
  try {
    return Buffer.from(await readRegularFile(path, maxBytes)).toString("utf8");
  } catch (err) {
    throw new InputError(`"${key}": ${errorMessage(err)}`, { cause: err });
  }
}
