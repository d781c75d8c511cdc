import type { Access } from "@dstack/dashboard";
import type { FastifyInstance } from "fastify";
import type { TeepodContext } from "../context.js";
import { vmSummaries } from "../dashboard/vm-summary.js";
import type { KnownToken } from "./tokens.js";

/** `GET /vms`: the list of this host's VMs, for dashboards of other hosts, and the role of whoever asks. */
export function addVmList(app: FastifyInstance, context: TeepodContext, access: Access<KnownToken>): void {
  app.get("/vms", async (request) => ({
    role: access.callerOf(request).role,
    vms: await vmSummaries(context),
  }));
}
