import type { Backend, RouteTable } from "./data-plane.js";

/**
 * Who serves an id on a port, the instance to try first coming first (P3).
 * @returns none where the port is closed, by the table or by each of the instances; undefined where nobody has this id
 */
export function backendsOn(
  { backends, allowedPorts }: RouteTable,
  id: string,
  port: number,
): readonly Backend[] | undefined {
  const all = backends.get(id) ?? [];
  if (all.length === 0) return undefined;
  if (!allowedPorts.some(({ from, to }) => from <= port && port <= to)) return [];
  return all.filter(({ publicPorts }) => publicPorts?.includes(port) ?? true);
}
