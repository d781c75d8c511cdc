export { startCertbot } from "./service.js";
export { CertbotConfig } from "./config.js";
