/** The app is in the same VM: if it takes longer, it is not there. */
export const CONNECT_LIMIT_MS = 10_000;
/** Nothing sent and nothing received. Streams and WebSockets may be silent for long. */
export const IDLE_LIMIT_MS = 3600_000;
export const HANDSHAKE_LIMIT_MS = 15_000;
/** From the first byte of an HTTP/1 request to the end of its headers. */
export const HEADERS_LIMIT_MS = 30_000;
export const KEEP_ALIVE_MS = 75_000;
export const MAX_HEADER_BYTES = 32 * 1024;
export const MAX_HEADERS = 128;
export const MAX_CONNECTIONS = 4096;
/** Requests under way at once on an HTTP/2 connection. */
export const MAX_STREAMS = 128;
/** How long requests in flight may take once the ingress stops. */
export const DRAIN_LIMIT_MS = 8_000;
