import { errorMessage } from "@dstack/core";
import type { FastifyInstance } from "fastify";
import { collectDefaultMetrics, Registry } from "prom-client";

/** A registry of its own for one daemon, with the process's default metrics. */
export function createRegistry(): Registry {
  const register = new Registry();
  collectDefaultMetrics({ register });
  return register;
}

/**
 * Serves `GET /healthz` (200 `{"status":"ok"}`, or 503 with the reason while `health` rejects) and `GET /metrics`
 * (Prometheus text).
 * @param options.health resolves while the daemon can do its work, with what an operator should know all the same; its
 * error message is shown to the caller
 */
export function addHealthAndMetrics(
  app: FastifyInstance,
  options: { registry: Registry; health?: () => Promise<void> | readonly string[] | void },
): void {
  app.get("/healthz", async (_request, reply) => {
    try {
      const warnings = (await options.health?.()) ?? [];
      return warnings.length === 0 ? { status: "ok" } : { status: "ok", warnings };
    } catch (err) {
      return reply.code(503).send({ status: "failing", error: errorMessage(err) });
    }
  });
  app.get("/metrics", async (_request, reply) => {
    return reply.type(options.registry.contentType).send(await options.registry.metrics());
  });
}
