export { startIngress } from "./service.js";
export type { Ingress, IngressParts } from "./service.js";
export { readSettings } from "./settings/settings.js";
export type { Settings } from "./settings/settings.js";
