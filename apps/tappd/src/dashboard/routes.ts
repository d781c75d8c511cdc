import { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply } from "fastify";
import { COMPOSE_DOCUMENT, CONTAINERS, EVENT_LOG, SYSTEM_INFORMATION, requirePublic } from "../app/public.js";
import type { TappdContext } from "../context.js";
import { parseContainerName } from "../docker/container-name.js";
import { readLog } from "../http/read-log.js";
import type { LogReaders } from "../http/read-log.js";
import { readSystemInfo } from "../system/system-info.js";
import { composePage } from "./compose.js";
import { containersPage } from "./containers.js";
import { eventsPage } from "./events.js";
import { followedLog, logControls, shownLog } from "./log-page.js";
import { engineQuery, logViewLink, parseLogView } from "./log-query.js";
import { overview } from "./overview.js";
import { PAGE_HEADERS, appTitle, pageAround, pageReply, sendPage } from "./page.js";
import { answerError, sendProblem } from "./problem.js";
import { parseRefresh } from "./refresh.js";
import { systemPage } from "./system.js";

/** For everything a page is made of. */
const PAGE_MS = 10_000;
const FOLLOW_MS = 15 * 60_000;
/** How much of a page waits in memory for a client that reads slowly. */
const BUFFER_BYTES = 64 * 1024;

type Query = { Querystring: Record<string, unknown> };

/**
 * The pages for people: what this app is and, as far as its compose document allows, what runs in it (G8). They are
 * made here, whole, and need no script.
 */
export function addDashboard(app: FastifyInstance, context: TappdContext, readers: LogReaders): void {
  const { compose, measurements, engine } = context;
  const limit = (): AbortSignal => AbortSignal.timeout(PAGE_MS);
  app.setErrorHandler((err, request, reply) => answerError(err, request, reply, context));

  app.get("/", async (request, reply) => {
    const content = overview(context, await measurements.current(limit()), request.host);
    return sendPage(reply, context, { title: appTitle(context), current: "/", content });
  });

  app.get("/certificate.pem", async (_request, reply) =>
    download(reply, "application/x-pem-file", "certificate.pem", context.appCertificate()),
  );

  app.get("/events", async (_request, reply) => {
    requirePublic(compose, EVENT_LOG);
    const content = eventsPage(await measurements.current(limit()));
    return sendPage(reply, context, { title: "Event log", current: "/events", content });
  });

  app.get("/compose", async (_request, reply) => {
    requirePublic(compose, COMPOSE_DOCUMENT);
    return sendPage(reply, context, {
      title: "Compose document",
      current: "/compose",
      content: composePage(context),
    });
  });

  app.get("/app-compose.json", async (_request, reply) => {
    requirePublic(compose, COMPOSE_DOCUMENT);
    return download(reply, "application/json", "app-compose.json", compose.text);
  });

  app.get<Query>("/containers", async (request, reply) => {
    requirePublic(compose, CONTAINERS);
    const refresh = parseRefresh(request.query["refresh"]);
    const content = await containersPage(engine, refresh, limit());
    return sendPage(refreshed(reply, refresh), context, {
      title: "Containers",
      current: "/containers",
      content,
    });
  });

  app.get<Query & { Params: { container: string } }>("/containers/:container", async (request, reply) => {
    requirePublic(compose, CONTAINERS);
    const container = parseContainerName(request.params.container);
    const view = parseLogView(request.query);
    const limitMs = view.follow ? FOLLOW_MS : PAGE_MS;
    const frames = await readLog(context, readers, reply, { container, query: engineQuery(view), limitMs });
    if (frames === undefined) return reply;
    const { before, after } = pageAround(context, { title: `Log of ${container}`, current: "/containers" });
    const log = view.follow
      ? followedLog(container, frames, logViewLink(container, view))
      : shownLog(container, frames);
    async function* page(): AsyncGenerator<string> {
      yield before + logControls(container, view).text;
      yield* log;
      yield after;
    }
    return pageReply(reply)
      .header("x-accel-buffering", "no")
      .send(Readable.from(page(), { objectMode: false, highWaterMark: BUFFER_BYTES }));
  });

  app.get<Query>("/system", async (request, reply) => {
    requirePublic(compose, SYSTEM_INFORMATION);
    const refresh = parseRefresh(request.query["refresh"]);
    const content = systemPage(await readSystemInfo(context.system), context.history, refresh);
    return sendPage(refreshed(reply, refresh), context, { title: "System", current: "/system", content });
  });

  // Whoever asks for a page is told in a page.
  app.get("/*", async (request, reply) => {
    if (request.headers.accept?.includes("text/html") !== true)
      return reply.code(404).send({ error: "not found" });
    return sendProblem(reply, context, 404, "there is no such page here");
  });
}

/** A reply after which browsers ask again. */
function refreshed(reply: FastifyReply, seconds: number | undefined): FastifyReply {
  return seconds === undefined ? reply : reply.header("refresh", String(seconds));
}

function download(reply: FastifyReply, type: string, name: string, text: string): FastifyReply {
  return reply
    .headers({ ...PAGE_HEADERS, "content-disposition": `attachment; filename="${name}"` })
    .type(type)
    .send(text);
}
