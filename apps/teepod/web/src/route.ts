import { followAddress } from "@dstack/dashboard/web";
import type { Address } from "@dstack/dashboard/web";

/** What the page shows. */
export type Route =
  | { readonly page: "list" | "images" | "audit" }
  | { readonly page: "deploy"; readonly clone?: string; readonly image?: string }
  | { readonly page: "vm" | "logs" | "upgrade"; readonly id: string };

function routeOf({ parts: [first, id, tab], query }: Address): Route {
  if (first === "images" || first === "audit") return { page: first };
  if (first === "deploy") {
    const [clone, image] = [query.get("clone"), query.get("image")];
    return { page: "deploy", ...(clone !== null && { clone }), ...(image !== null && { image }) };
  }
  if (first === "vm" && id !== undefined) {
    return { page: tab === "logs" || tab === "upgrade" ? tab : "vm", id };
  }
  return { page: "list" };
}

export const route = followAddress(routeOf);

export function vmLink(id: string, tab?: "logs" | "upgrade"): string {
  return `#/vm/${encodeURIComponent(id)}${tab === undefined ? "" : `/${tab}`}`;
}
