export { PLAIN_HOST } from "./browser.js";
export type { Tab } from "./browser.js";
export { Stage } from "./stage.js";
