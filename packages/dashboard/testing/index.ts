export { PLAIN_HOST, Tab, startBrowser } from "./browser.js";
export { PageChecks } from "./page-checks.js";
export type { Browser } from "playwright-core";
