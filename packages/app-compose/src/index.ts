export { MAX_COMPOSE_BYTES, isAppCompose, nameOfAppCompose, toAppComposeText } from "./app-compose.js";
export type { AppComposeOptions, AppComposeText } from "./app-compose.js";
