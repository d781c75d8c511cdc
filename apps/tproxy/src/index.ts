export { startTproxy } from "./service.js";
export type { Tproxy, TproxyParts } from "./service.js";
export { TproxyConfig } from "./config.js";
export type { TproxyConfigInput } from "./config.js";
