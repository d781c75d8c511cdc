import { status } from "@grpc/grpc-js";
import type { RpcError, RpcErrorCode } from "../rpc-error.js";

const GRPC_STATUS: Record<RpcErrorCode, status> = {
  bad_request: status.INVALID_ARGUMENT,
  unauthenticated: status.UNAUTHENTICATED,
  permission_denied: status.PERMISSION_DENIED,
  not_found: status.NOT_FOUND,
  conflict: status.FAILED_PRECONDITION,
  too_large: status.RESOURCE_EXHAUSTED,
  too_many: status.RESOURCE_EXHAUSTED,
  internal: status.INTERNAL,
  unavailable: status.UNAVAILABLE,
};

/** The gRPC status that tells a caller the same as the HTTP one. */
export function grpcStatus(error: RpcError): { code: status; details: string } {
  return { code: GRPC_STATUS[error.code], details: error.message };
}
