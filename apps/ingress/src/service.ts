import { abortable } from "@dstack/core";
import { type Logger, ResourceStack, createLogger } from "@dstack/daemon";
import { type Identity, Keeper } from "./certificate/keeper.js";
import { EvidencePages } from "./evidence/serve-evidence.js";
import { type GuestAgent, openGuestAgent } from "./guest-agent.js";
import { handlers } from "./proxy/handle.js";
import { PublicServer } from "./proxy/server.js";
import type { Settings } from "./settings/settings.js";

export interface Ingress extends AsyncDisposable {
  readonly port: number;
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
  const stop = new AbortController();
  const signal = parts.signal === undefined ? stop.signal : AbortSignal.any([parts.signal, stop.signal]);

  let server: PublicServer | undefined;
  let current: Identity | undefined;
  let onFirst: (identity: Identity) => void = () => {};
  const first = new Promise<Identity>((resolve) => (onFirst = resolve));
  const onIdentity = (identity: Identity): void => {
    current = identity;
    server?.setCertificate(identity.certificate);
    onFirst(identity);
    log.info({ notAfter: identity.certificate.notAfter }, "certificate and evidence are in use");
  };
  const keeper = await Keeper.open({ settings, agent, log, onIdentity });
  await keeper.resume(signal).catch((err: unknown) => {
    signal.throwIfAborted();
    log.warn({ err }, "what an earlier run left cannot be used yet");
  });
  const running = keeper.run(signal);
  stack.defer(async () => {
    stop.abort(new Error("the ingress is stopping"));
    await running;
  });

  const { certificate, evidence } = await abortable(first, signal);
  const pages = new EvidencePages({ agent, domains, log });
  const { routes, port } = settings;
  server = stack.use(
    await PublicServer.listen(
      { host: parts.host, port },
      certificate,
      handlers({ routes, pages, evidence: () => current?.evidence ?? evidence, log }),
    ),
  );
  // It may have changed while the listener opened.
  if (current !== undefined) server.setCertificate(current.certificate);
  log.info({ domains, port: server.port }, "ingress is serving");
  const held = stack.move();
  return {
    port: server.port,
    renew: (options) => keeper.pass(options, signal),
    [Symbol.asyncDispose]: () => held[Symbol.asyncDispose](),
  };
}
