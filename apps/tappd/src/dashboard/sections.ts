import { COMPOSE_DOCUMENT, CONTAINERS, EVENT_LOG, SYSTEM_INFORMATION } from "../app/public.js";
import type { Guarded } from "../app/public.js";

/** A page that only the compose document opens. */
export interface Section {
  readonly path: string;
  readonly title: string;
  readonly shows: Guarded;
}

export const SECTIONS: readonly Section[] = [
  { path: "/containers", title: "Containers", shows: CONTAINERS },
  { path: "/system", title: "System", shows: SYSTEM_INFORMATION },
  { path: "/events", title: "Events", shows: EVENT_LOG },
  { path: "/compose", title: "Compose", shows: COMPOSE_DOCUMENT },
];
