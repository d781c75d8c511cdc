import { signal } from "@preact/signals";

/** What the page shows, as its address after the `#` says. */
export type Route =
  | { readonly page: "list" | "images" | "audit" }
  | { readonly page: "deploy"; readonly clone?: string; readonly image?: string }
  | { readonly page: "vm" | "logs" | "upgrade"; readonly id: string };

export function parseRoute(hash: string): Route {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [first, id, tab] = path.split("/").map(decodeURIComponent);
  if (first === "images" || first === "audit") return { page: first };
  if (first === "deploy") {
    const params = new URLSearchParams(query);
    const [clone, image] = [params.get("clone"), params.get("image")];
    return { page: "deploy", ...(clone !== null && { clone }), ...(image !== null && { image }) };
  }
  if (first === "vm" && id !== undefined) {
    return { page: tab === "logs" || tab === "upgrade" ? tab : "vm", id };
  }
  return { page: "list" };
}

export const route = signal<Route>(parseRoute(location.hash));

addEventListener("hashchange", () => {
  route.value = parseRoute(location.hash);
  scrollTo(0, 0);
  // Who hears the page rather than sees it is taken to what is new.
  requestAnimationFrame(() => document.getElementById("main")?.focus({ preventScroll: true }));
});

export function goTo(hash: string): void {
  location.hash = hash;
}

export function vmLink(id: string, tab?: "logs" | "upgrade"): string {
  return `#/vm/${encodeURIComponent(id)}${tab === undefined ? "" : `/${tab}`}`;
}
