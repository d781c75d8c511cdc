import { RpcError } from "@dstack/prpc";
import type { AdminContext, AdminHandler } from "./admin-context.js";

/** The node a request means. */
export function nodeNamed({ nodes }: AdminContext, name: string): string {
  return name === "" ? nodes.self().name : name;
}

/** `TproxyAdmin.DrainNode` and `ResumeNode` */
export const setNodeDraining =
  (context: AdminContext, draining: boolean): AdminHandler<"drainNode"> =>
  async ({ name }) => {
    const node = nodeNamed(context, name);
    if (!(await context.nodes.setDraining(node, draining))) throw unknown(node);
    return {};
  };

/** `TproxyAdmin.RemoveNode` */
export const removeNode =
  (context: AdminContext): AdminHandler<"removeNode"> =>
  async ({ name }) => {
    const node = nodeNamed(context, name);
    if (!(await context.nodes.remove(node))) throw unknown(node);
    return {};
  };

function unknown(name: string): RpcError {
  return new RpcError("not_found", `there is no node ${name}`);
}
