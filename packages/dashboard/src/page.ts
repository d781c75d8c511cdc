import { extname } from "node:path";
import { RpcError } from "@dstack/prpc";
import type { FastifyInstance } from "fastify";

/** The files of a built page by their path in it, `index.html` and `assets/<name>`; empty where none was built. */
export type PageFiles = ReadonlyMap<string, Buffer>;

const TYPES: Readonly<Record<string, string>> = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".svg": "image/svg+xml",
};

/** `GET /` and the files it loads. They say nothing about this host, so anyone may have them. */
export function addPage(app: FastifyInstance, program: string, files: PageFiles): void {
  app.get("/", async (_request, reply) => {
    const page = files.get("index.html");
    if (page === undefined) {
      throw new RpcError(
        "not_found",
        `this ${program} runs without its dashboard: \`pnpm --filter @dstack/${program} build\` makes a program with it`,
      );
    }
    return reply.type(TYPES[".html"] ?? "").send(page);
  });
  app.get("/assets/:file", async (request, reply) => {
    const { file } = request.params as { file: string };
    // Looked up among the files there are; the name never becomes a path (T1).
    const found = files.get(`assets/${file}`);
    const type = TYPES[extname(file)];
    if (found === undefined || type === undefined) throw new RpcError("not_found", "there is no such file");
    return reply.type(type).send(found);
  });
}
