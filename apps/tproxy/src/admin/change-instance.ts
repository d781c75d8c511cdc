import { parseInstanceId } from "@dstack/core";
import { RpcError } from "@dstack/prpc";
import type { AdminContext, AdminHandler } from "./admin-context.js";

/** `TproxyAdmin.DrainInstance` and `ResumeInstance`: on all nodes, over restarts and registrations. */
export const setInstanceDraining =
  (context: AdminContext, draining: boolean): AdminHandler<"drainInstance"> =>
  async ({ id }) => {
    if (!(await context.registry.setDraining(parseInstanceId(id), draining))) throw unknown(id);
    await context.publishRoutes();
    return {};
  };

/** `TproxyAdmin.RemoveInstance` */
export const removeInstance =
  (context: AdminContext): AdminHandler<"removeInstance"> =>
  async ({ id }) => {
    const instanceId = parseInstanceId(id);
    if (!(await context.registry.remove(instanceId))) throw unknown(id);
    // As on every node that hears of it; who asked is told when it is done here.
    await context.publishRoutes();
    await context.plane.drain({ instanceId }, 0);
    await context.tunnel.sync();
    return {};
  };

function unknown(id: string): RpcError {
  return new RpcError("not_found", `no instance ${id} is registered`);
}
