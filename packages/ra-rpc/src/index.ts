export { listenRaRpc } from "./listen.js";
export type { PeerOf, RaRpcLimits, RaRpcListener, RaRpcOptions } from "./listen.js";
export { attested, evidenceRefusal, requireAttested } from "./admission.js";
export type { Verifier } from "./admission.js";
export { Challenges } from "./challenges.js";
export type { ChallengeAnswer, ChallengesOptions } from "./challenges.js";
export { raTlsTransport } from "./transport.js";
export type { RaTlsSession, RaTlsTransport, RaTlsTransportOptions } from "./transport.js";
export type { ServerIdentity } from "./tls.js";
