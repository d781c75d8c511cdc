import type { SocketScope } from "@dstack/app-compose/sockets";
import { RpcError } from "@dstack/prpc";

/** What the containers that have a socket may do with it (G7). The checks throw `permission_denied`. */
export interface SocketRights {
  /** A classic socket: also events, and whatever `Info` tells. */
  readonly everything: boolean;
  requireEverything(): void;
  requireQuote(): void;
  /** @param path of the key; "" is within no prefix but the empty one */
  requireKey(path: string): void;
  requireCertificate(path: string): void;
}

const nothing = (): void => {};

/** Of the classic sockets. */
export const EVERYTHING: SocketRights = {
  everything: true,
  requireEverything: nothing,
  requireQuote: nothing,
  requireKey: nothing,
  requireCertificate: nothing,
};

/** Of a socket that the compose document scopes: what no scope names is refused. */
export function scopedRights(scopes: readonly SocketScope[]): SocketRights {
  const requirePath = (kind: "cert" | "key", path: string): void => {
    if (!scopes.some((scope) => scope.kind === kind && within(scope.prefix, path)))
      throw refused(`"${kind}:" scope over this path`);
  };
  return {
    everything: false,
    requireEverything: () => {
      throw refused("scope for this: it needs the classic socket");
    },
    requireQuote: () => {
      if (!scopes.some(({ kind }) => kind === "quote")) throw refused('"quote" scope');
    },
    requireKey: (path) => requirePath("key", path),
    requireCertificate: (path) => requirePath("cert", path),
  };
}

/** Prefixes end where a segment does: `app` covers `app` and `app/db`, not `apple`. */
function within(prefix: string, path: string): boolean {
  return prefix === "" || path === prefix || path.startsWith(`${prefix}/`);
}

function refused(missing: string): RpcError {
  return new RpcError("permission_denied", `this socket has no ${missing}`);
}
