export { listenRaRpc } from "./listen.js";
export type { PeerOf, RaRpcLimits, RaRpcListener, RaRpcOptions } from "./listen.js";
export { attested, evidenceRefusal, requireAttested } from "./admission.js";
export type { Verifier } from "./admission.js";
export { raTlsTransport } from "./transport.js";
export type { RaTlsTransportOptions } from "./transport.js";
export type { ServerIdentity } from "./tls.js";
