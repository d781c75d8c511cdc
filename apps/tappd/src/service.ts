import { constants } from "node:crypto";
import { stat } from "node:fs/promises";
import { Server as TlsServer } from "node:tls";
import type { SecureContextOptions, TlsOptions } from "node:tls";
import { InputError } from "@dstack/core";
import { ResourceStack, createLogger, listenHttp } from "@dstack/daemon";
import type { Listener, Logger } from "@dstack/daemon";
import { RuntimeEventLog, openQuoteProvider } from "@dstack/tdx-attest";
import type { QuoteProvider } from "@dstack/tdx-attest";
import { loadAppCompose } from "./app/app-compose.js";
import { loadAppKeys } from "./app/app-keys.js";
import { requireBooted } from "./boot-check.js";
import type { TappdConfig } from "./config.js";
import type { TappdContext } from "./context.js";
import { DockerodeEngine } from "./docker/dockerode-engine.js";
import type { ContainerEngine } from "./docker/engine.js";
import { dstackSocketApp, externalApp, tappdSocketApp } from "./http/apps.js";
import { Clients } from "./http/clients.js";
import { LogSlots } from "./http/log-slots.js";
import { Measurements } from "./quote/measurements.js";
import { Quotes } from "./quote/quotes.js";
import { scopedRights } from "./rpc/socket-rights.js";
import { SOCKET_MODE, listenScoped } from "./scoped-sockets.js";
import { SystemHistory } from "./system/history.js";
import { SYSTEM_PATHS } from "./system/system-info.js";
import type { SystemPaths } from "./system/system-info.js";
import { issueExternalCertificate, renewExternalCertificate } from "./tls/external-certificate.js";
import type { ServerCertificate } from "./tls/external-certificate.js";

const HANDSHAKE_MS = 10_000;

/** What a test or a testbed puts in place of the machine. */
export interface TappdParts {
  provider: QuoteProvider;
  docker: ContainerEngine;
  log: Logger;
  system: SystemPaths;
  /** How often the machine's load is looked at for the dashboard. */
  sampleEveryMs: number;
  /** Unix sockets that are listened on already, `tappd` and `dstack`: descriptors. */
  inherited: ReadonlyMap<string, number>;
}

/** A running tappd. Disposing it closes its listeners and removes its sockets. */
export interface Tappd extends AsyncDisposable {
  /** Paths. */
  readonly sockets: { readonly tappd: string; readonly dstack: string };
  /** Paths of the sockets that the compose document scopes, by name (G7). */
  readonly scopedSockets: ReadonlyMap<string, string>;
  readonly external: { readonly host: string; readonly port: number; readonly tlsPort: number };
}

/**
 * Starts the guest agent: both unix sockets and the external listeners.
 * @throws {InputError} keys or compose document that do not belong to what was measured, or `system-ready` missing
 * @throws {DeviceError} no platform to get quotes from
 */
export async function startTappd(config: TappdConfig, parts: Partial<TappdParts> = {}): Promise<Tappd> {
  await using stack = new ResourceStack();
  const { core, external } = config;
  const log = parts.log ?? createLogger({ name: "tappd", level: config.log_level });
  const inherited = requireKnown(parts.inherited ?? new Map());
  const provider = parts.provider ?? (await openQuoteProvider({ simulatorSocket: core.simulator_socket }));
  const events = await RuntimeEventLog.open({ provider, path: core.event_log });
  const [compose, keys] = await Promise.all([
    loadAppCompose(core.app_compose_file),
    loadAppKeys(core.keys_file),
  ]);
  const identity = requireBooted(await events.eventLog(), compose, keys);
  if (provider.kind === "simulated")
    log.warn("simulated platform: quotes of this VM prove nothing about hardware");

  const quotes = new Quotes(events, { timeoutMs: core.quote_timeout_ms });
  // The log is only ever appended to.
  const measurements = new Measurements(quotes, async () => (await stat(events.path)).size);
  const system = parts.system ?? SYSTEM_PATHS;
  const history = new SystemHistory(system, parts.sampleEveryMs);
  let tlsPort = external.tls_port;
  let certificate = await issueExternalCertificate({ keys, quotes, log });
  const context: TappdContext = {
    log,
    identity,
    compose,
    keys,
    platform: provider.kind,
    quotes,
    measurements,
    events,
    engine: parts.docker ?? new DockerodeEngine(config.docker_socket),
    system,
    history,
    tlsPort: () => tlsPort,
    vmConfig: core.vm_config,
    appCertificate: () => certificate.chainPem,
  };
  await measurements.current();

  const outside = { slots: new LogSlots(), clients: new Clients() };
  const plain = stack.use(
    await listenHttp({
      app: externalApp(context, outside),
      address: { host: external.host, port: external.port },
    }),
  );
  const tlsApp = externalApp(context, outside, { tls: tlsOptions(certificate) });
  const tls = stack.use(
    await listenHttp({ app: tlsApp, address: { host: external.host, port: external.tls_port } }),
  );
  tlsPort = tls.port;
  const stop = new AbortController();
  // Nobody is shown the load of an app that keeps it private, so it is not collected either (G8).
  const sampling = compose.publicSysinfo ? history.run(stop.signal) : undefined;
  const renewal = renewExternalCertificate(
    context,
    (renewed) => {
      certificate = renewed;
      const server: unknown = tlsApp.server;
      if (server instanceof TlsServer) server.setSecureContext(tlsOptions(renewed));
    },
    stop.signal,
  );
  stack.defer(async () => {
    stop.abort();
    await Promise.all([renewal, sampling]);
  });

  // Last, so that a container that finds the sockets finds everything else working.
  const { sockets } = config;
  const scopedSockets = new Map<string, string>();
  for (const [name, scopes] of compose.sockets) {
    const app = tappdSocketApp(context, scopedRights(scopes));
    const listener = stack.use(await listenScoped(app, sockets.scoped_dir, name));
    scopedSockets.set(name, listener.address);
  }
  const dstack = stack.use(
    await listenSocket(dstackSocketApp(context), sockets.dstack, inherited.get("dstack")),
  );
  const tappd = stack.use(await listenSocket(tappdSocketApp(context), sockets.tappd, inherited.get("tappd")));
  log.info({ appId: identity.appId, port: plain.port, tlsPort: tls.port }, "tappd is serving");

  const running = stack.move();
  return {
    sockets: { tappd: tappd.address, dstack: dstack.address },
    scopedSockets,
    external: { host: plain.address, port: plain.port, tlsPort: tls.port },
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}

function tlsOptions({ keyPem, chainPem }: ServerCertificate): SecureContextOptions & TlsOptions {
  return {
    key: keyPem,
    cert: chainPem,
    minVersion: "TLSv1.3",
    // No tickets: a resumed session shows no certificate, and with it no evidence.
    secureOptions: constants.SSL_OP_NO_TICKET,
    handshakeTimeout: HANDSHAKE_MS,
  };
}

function listenSocket(
  app: ReturnType<typeof tappdSocketApp>,
  path: string,
  fd: number | undefined,
): Promise<Listener> {
  return listenHttp({ app, address: fd === undefined ? { path, mode: SOCKET_MODE } : { path, fd } });
}

/** @throws {InputError} a socket that nobody here would answer on */
function requireKnown(inherited: ReadonlyMap<string, number>): ReadonlyMap<string, number> {
  const unknown = [...inherited.keys()].find((name) => name !== "tappd" && name !== "dstack");
  if (unknown === undefined) return inherited;
  throw new InputError(
    `inherited a socket called "${unknown}": FileDescriptorName= must be "tappd" or "dstack"`,
  );
}
