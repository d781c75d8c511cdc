import { CodedError } from "@dstack/core";

/** The hypervisor could not do what it was asked. The message is for the operator. */
export class HypervisorError extends CodedError<"not_started" | "not_reachable" | "not_ended" | "running"> {
  override name = "HypervisorError";
  readonly rpcCode = "unavailable";
}
