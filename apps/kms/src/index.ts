export { startKms } from "./service.js";
export type { Kms, KmsParts } from "./service.js";
export { KmsConfig } from "./config.js";
export type { KmsConfigInput } from "./config.js";
export { initKms } from "./init/init.js";
export { issueServerCert } from "./init/server-cert.js";
export type { ServerCertRequest } from "./init/server-cert.js";
