import { CodedError } from "@dstack/core";

const rpcCodes = {
  not_found: "not_found",
  wrong_state: "conflict",
  in_use: "conflict",
  changed: "conflict",
  no_space: "unavailable",
  exhausted: "unavailable",
} as const;

/** Why an operation on VMs was refused; the message is one sentence for the caller. */
export class VmError extends CodedError<keyof typeof rpcCodes> {
  override name = "VmError";

  /** The RPC status this error becomes. */
  get rpcCode(): (typeof rpcCodes)[keyof typeof rpcCodes] {
    return rpcCodes[this.code];
  }
}
