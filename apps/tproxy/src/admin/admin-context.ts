import type { Handler } from "@dstack/prpc";
import type { tproxyAdmin } from "@dstack/proto";
import type { PeerVerifier } from "@dstack/ra-tls";
import type { TproxyContext } from "../context.js";
import type { AuditLog } from "./audit-log.js";

/** Who is calling: the name of a token. */
export interface Operator {
  readonly name: string;
}

/** What the admin methods work with beyond what all methods do. */
export interface AdminContext extends TproxyContext {
  readonly audit: AuditLog;
  /** By the rules for guests that register. */
  readonly verifier: PeerVerifier;
  /** The first one is the one that guests are told. */
  readonly baseDomains: readonly string[];
}

type Methods = (typeof tproxyAdmin.TproxyAdmin)["method"];

/** A handler of the method of that name. */
export type AdminHandler<N extends keyof Methods> = Handler<
  Methods[N]["input"],
  Methods[N]["output"],
  Operator
>;
