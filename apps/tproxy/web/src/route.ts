import { followAddress } from "@dstack/dashboard/web";
import type { Address } from "@dstack/dashboard/web";

/** What the page shows. */
export type Route =
  | { readonly page: "instances" | "nodes" | "certificate" | "audit" }
  | { readonly page: "connections"; readonly search: string };

function routeOf({ parts: [first], query }: Address): Route {
  if (first === "nodes" || first === "certificate" || first === "audit") return { page: first };
  if (first === "connections") return { page: first, search: query.get("search") ?? "" };
  return { page: "instances" };
}

export const route = followAddress(routeOf);

/** The open connections of an app, an instance, a source… */
export function connectionsLink(search: string): string {
  return `#/connections?search=${encodeURIComponent(search)}`;
}
