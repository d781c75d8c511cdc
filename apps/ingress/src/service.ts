import { abortable } from "@dstack/core";
import { type Logger, ResourceStack, createLogger, startChecks, waitAfter } from "@dstack/daemon";
import { type Identity, Keeper } from "./certificate/keeper.js";
import { EvidencePages } from "./evidence/serve-evidence.js";
import { type GuestAgent, openGuestAgent } from "./guest-agent.js";
import { IngressMetrics } from "./metrics.js";
import { handlers } from "./proxy/handle.js";
import { PublicServer } from "./proxy/server.js";
import type { Settings } from "./settings/settings.js";

export interface Ingress extends AsyncDisposable {
  readonly port: number;
  /** Of metrics; undefined without them. */
  readonly metricsPort: number | undefined;
  /** Sees to DNS, certificate and evidence now. @param options.force gets a new certificate in any case */
  renew(options: { force: boolean }): Promise<void>;
}

export interface IngressParts {
  readonly log?: Logger;
  readonly agent?: GuestAgent;
  /** Address to listen on; all of them by default. */
  readonly host?: string;
  /** Ends the wait for the first certificate. */
  readonly signal?: AbortSignal;
}

/**
 * Serves as soon as there is a certificate: the one of an earlier run, or the first one the CA gives, which is asked
 * for again and again.
 * @throws {InputError} a file or socket that is named is not there
 */
export async function startIngress(settings: Settings, parts: IngressParts = {}): Promise<Ingress> {
  await using stack = new ResourceStack();
  const log = parts.log ?? createLogger({ name: "ingress", level: settings.logLevel });
  const agent = parts.agent ?? openGuestAgent();
  const domains = [...settings.routes.keys()];
  const metrics = new IngressMetrics();
  const stop = new AbortController();
  const signal = parts.signal === undefined ? stop.signal : AbortSignal.any([parts.signal, stop.signal]);

  let server: PublicServer | undefined;
  let current: Identity | undefined;
  let onFirst: (identity: Identity) => void = () => {};
  const first = new Promise<Identity>((resolve) => (onFirst = resolve));
  const onIdentity = (identity: Identity): void => {
    current = identity;
    server?.setCertificate(identity.certificate);
    metrics.serves(identity.certificate.notAfter);
    onFirst(identity);
    log.info({ notAfter: identity.certificate.notAfter }, "certificate and evidence are in use");
  };
  const keeper = await Keeper.open({ settings, agent, log, onIdentity });
  await keeper.resume(signal).catch((err: unknown) => {
    signal.throwIfAborted();
    log.warn({ err }, "what an earlier run left cannot be used yet");
  });
  const { metricsPort } = settings;
  const checks = stack.use(
    await startChecks({
      name: "ingress",
      async check(checking) {
        metrics.checked(await keeper.pass({ force: false }, checking));
        return undefined;
      },
      onError: () => metrics.failed(),
      wait: (failures) => waitAfter(failures, settings.renewIntervalMs, Math.random()),
      registry: metrics.registry,
      // Beside the app and whoever scrapes it: nothing of the compose file's `ports` leads here.
      metrics: metricsPort === undefined ? undefined : { host: parts.host ?? "0.0.0.0", port: metricsPort },
      log,
    }),
  );
  stack.defer(() => stop.abort(new Error("the ingress is stopping")));

  const { certificate, evidence } = await abortable(first, signal);
  const pages = new EvidencePages({ agent, domains, log, onQuote: (status) => metrics.quoted(status) });
  const { routes, port } = settings;
  server = stack.use(
    await PublicServer.listen(
      { host: parts.host, port },
      certificate,
      handlers({
        routes,
        pages,
        evidence: () => current?.evidence ?? evidence,
        replied: (status) => metrics.replied(status),
        log,
      }),
    ),
  );
  // It may have changed while the listener opened.
  if (current !== undefined) server.setCertificate(current.certificate);
  log.info({ domains, port: server.port }, "ingress is serving");
  const held = stack.move();
  return {
    port: server.port,
    metricsPort: checks.port,
    async renew(options) {
      metrics.checked(await keeper.pass(options, signal));
    },
    [Symbol.asyncDispose]: () => held[Symbol.asyncDispose](),
  };
}
