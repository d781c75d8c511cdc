import { RpcError } from "@dstack/prpc";
import type { Role } from "./tokens.js";

/** Who is calling. */
export interface Caller {
  /** For the audit log. */
  readonly name: string;
  readonly role: Role;
}

/** @throws {RpcError} the caller may only look */
export function requireOperator(caller: Caller | undefined): Caller {
  if (caller === undefined) throw new RpcError("unauthenticated", "a bearer token is needed");
  if (caller.role !== "operator") {
    throw new RpcError("permission_denied", "this token may look at VMs but not change them");
  }
  return caller;
}
