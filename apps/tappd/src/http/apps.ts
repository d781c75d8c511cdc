import { createApp } from "@dstack/daemon";
import type { AppOptions } from "@dstack/daemon";
import { mountPrpc } from "@dstack/prpc";
import type { ServiceImpl } from "@dstack/prpc";
import type { FastifyInstance } from "fastify";
import type { TappdContext } from "../context.js";
import { addDashboard } from "../dashboard/routes.js";
import { dstackGuestService } from "../rpc/guest/service.js";
import { EVERYTHING } from "../rpc/socket-rights.js";
import type { SocketRights } from "../rpc/socket-rights.js";
import { tappdService } from "../rpc/tappd/service.js";
import { workerService } from "../rpc/worker/service.js";
import type { LogReaders } from "./read-log.js";
import { addLogs } from "./logs.js";
import { SystemMetrics, addMetrics } from "./metrics.js";
import { addPlainErrors } from "./plain-errors.js";

/** Requests of containers are small; this is plenty for `Sign` and `Verify` (wire.md allows a method less than 10 MiB). */
const SOCKET_BODY_BYTES = 2 ** 20;

/** No request of the outside has anything in its body; thousands of connections may each hold one for a minute. */
const EXTERNAL_BODY_BYTES = 4096;
/** Beyond these, connections are closed at once: what each of them may hold in memory has to fit into a small VM. */
const SOCKET_CONNECTIONS = 512;
const EXTERNAL_CONNECTIONS = 1024;

/**
 * `/var/run/tappd.sock`: `Tappd`, and `DstackGuest` too, because newer SDKs call that on either socket.
 * @param rights what the socket is for (G7); the classic one is for everything
 */
export function tappdSocketApp(context: TappdContext, rights: SocketRights = EVERYTHING): FastifyInstance {
  return socketApp(context, [dstackGuestService(context, rights), tappdService(context, rights)]);
}

/** `/var/run/dstack.sock`: `DstackGuest`. */
export function dstackSocketApp(context: TappdContext): FastifyInstance {
  return socketApp(context, [dstackGuestService(context)]);
}

/** Where services share a method name (`Info`), the bare name is the first service's. */
function socketApp(context: TappdContext, services: ServiceImpl[]): FastifyInstance {
  const app = createApp({ log: context.log, bodyLimit: SOCKET_BODY_BYTES });
  app.server.maxConnections = SOCKET_CONNECTIONS;
  mountPrpc(app, services, { bareMethods: true, asciiJson: true, lenientContentLength: true });
  return app;
}

/** What the outside sees, over plain HTTP inside the tunnel and over TLS. */
export function externalApp(
  context: TappdContext,
  readers: LogReaders,
  tls: Pick<AppOptions, "tls"> = {},
): FastifyInstance {
  const app = createApp({ log: context.log, bodyLimit: EXTERNAL_BODY_BYTES, ...tls });
  app.server.maxConnections = EXTERNAL_CONNECTIONS;
  readers.clients.attach(app.server);
  mountPrpc(app, [workerService(context)]);
  void app.register(async (plain) => {
    addPlainErrors(plain);
    addLogs(plain, context, readers);
    addMetrics(plain, context, new SystemMetrics(context));
    plain.get("/healthz", async () => ({ status: "ok" }));
  });
  void app.register(async (pages) => addDashboard(pages, context, readers));
  return app;
}
