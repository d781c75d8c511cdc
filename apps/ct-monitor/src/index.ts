export { CtMonitorConfig } from "./config.js";
export type { CtMonitorConfigInput } from "./config.js";
export { checkOnce, startCtMonitor } from "./service.js";
export type { CheckResult, CtMonitor, CtMonitorParts } from "./service.js";
