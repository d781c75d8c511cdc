export type {
  Backend,
  CloseReason,
  ConnectionReport,
  ConnectionState,
  CustomDestination,
  DataPlane,
  DataPlaneOptions,
  DataPlaneStats,
  DrainScope,
  ListenerOptions,
  OpenConnection,
  PortRange,
  RefusalReason,
  RouteTable,
} from "./data-plane.js";
export { backendsOn } from "./backends-on.js";
export { createJsDataPlane } from "./js/js-data-plane.js";
export type { JsDataPlaneOptions } from "./js/js-data-plane.js";
export { dialTcp } from "./js/dial.js";
export type { Dial } from "./js/dial.js";
export { EngineUnavailable } from "./native/engine-command.js";
export { createNativeDataPlane } from "./native/native-data-plane.js";
export type { NativeDataPlaneOptions } from "./native/native-data-plane.js";
export { parsePrefix } from "./ip-bytes.js";
export { DEFAULT_LIMITS } from "./limits.js";
export type { Limits } from "./limits.js";
export { CertificateError, CheckedCertificate, checkCertificate, checkCoverage } from "./certificate.js";
export type { CertificateToCheck } from "./certificate.js";
export { CustomDomains, parseTxtAddress } from "./custom-domains.js";
export type { CustomDomainOptions, ResolveTxt } from "./custom-domains.js";
export { defaultPort, parseDestination } from "./destination.js";
export type { AppDestination, Destination, RouteMode } from "./destination.js";
export { parseServerName } from "./server-name.js";
export type { ServerName } from "./server-name.js";
// Below: for other engines of this repository; may change without notice.
export { ClientHelloReader, MAX_CLIENT_HELLO_BYTES, parseClientHello } from "./client-hello.js";
export type { ClientHello, HelloResult } from "./client-hello.js";
