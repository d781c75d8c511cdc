export { MAX_COMPOSE_BYTES, isAppCompose, nameOfAppCompose, toAppComposeText } from "./app-compose.js";
export type { AppComposeOptions, AppComposeText } from "./app-compose.js";
export { appPort } from "./app-port.js";
export { diffLines } from "./diff.js";
export type { DiffLine } from "./diff.js";
export {
  allowedEnvs,
  fieldsOfAppCompose,
  readable,
  requireKeptNames,
  upgradeAppComposeText,
} from "./upgrade.js";
export type { UpgradeChange } from "./upgrade.js";
