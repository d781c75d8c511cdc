export { startCertbot } from "./service.js";
export type { CertbotService } from "./service.js";
export { CertbotConfig } from "./config.js";
