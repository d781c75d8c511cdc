import { signal } from "@preact/signals";
import type { Signal } from "@preact/signals";

/** The address after the `#`, cut at its slashes, without its query. */
export interface Address {
  readonly parts: readonly string[];
  readonly query: URLSearchParams;
}

/** @param hash as `location` has it */
export function parseAddress(hash: string): Address {
  const [path = "", query = ""] = hash.replace(/^#\/?/, "").split("?");
  return { parts: path.split("/").map(decoded), query: new URLSearchParams(query) };
}

/** Whoever types an address may type one that stands for nothing. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** What the page shows, as its address after the `#` says, and as it changes. */
export function followAddress<R>(routeOf: (address: Address) => R): Signal<R> {
  const route = signal(routeOf(parseAddress(location.hash)));
  addEventListener("hashchange", () => {
    route.value = routeOf(parseAddress(location.hash));
    scrollTo(0, 0);
    // Who hears the page rather than sees it is taken to what is new.
    requestAnimationFrame(() => document.getElementById("main")?.focus({ preventScroll: true }));
  });
  return route;
}

export function goTo(hash: string): void {
  location.hash = hash;
}
