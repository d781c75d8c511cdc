export { BASE_DOMAIN, Testbed } from "./testbed.js";
export type { TestbedOptions } from "./testbed.js";
