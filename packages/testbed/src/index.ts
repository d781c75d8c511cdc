export { BASE_DOMAIN, TEEPOD_TOKEN, Testbed } from "./testbed.js";
export type { TestbedOptions } from "./testbed.js";
