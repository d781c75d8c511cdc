import { InputError } from "@dstack/core";

/** HTTP status of each code; wire.md "errors". */
const STATUS = {
  bad_request: 400,
  unauthenticated: 401,
  permission_denied: 403,
  not_found: 404,
  conflict: 409,
  too_large: 413,
  too_many: 429,
  internal: 500,
  unavailable: 503,
} as const;

export type RpcErrorCode = keyof typeof STATUS;

/** An error as the caller of an RPC sees it: its message goes over the wire. */
export class RpcError extends Error {
  override name = "RpcError";
  /** HTTP status. */
  readonly status: number;
  /** Sent as `Retry-After`. */
  readonly retryAfterSeconds: number | undefined;

  constructor(
    readonly code: RpcErrorCode,
    message: string,
    options?: ErrorOptions & { retryAfterSeconds?: number },
  ) {
    super(message, options);
    this.status = STATUS[code];
    this.retryAfterSeconds = options?.retryAfterSeconds;
  }

  /** The status under the name HTTP frameworks look for. */
  get statusCode(): number {
    return this.status;
  }
}

export function isRpcErrorCode(code: unknown): code is RpcErrorCode {
  return typeof code === "string" && Object.hasOwn(STATUS, code);
}

/** The code for an HTTP status; statuses outside the table count as the caller's or the server's fault by class. */
export function codeOfStatus(status: number): RpcErrorCode {
  for (const [code, known] of Object.entries(STATUS)) {
    if (known === status && isRpcErrorCode(code)) return code;
  }
  return status >= 400 && status < 500 ? "bad_request" : "internal";
}

function hasProperty<K extends string>(err: unknown, name: K): err is Record<K, unknown> {
  return typeof err === "object" && err !== null && name in err;
}

/**
 * What a caller may learn about an error. An {@link RpcError} stays as it is, an InputError is a `bad_request`, an
 * error with an `rpcCode` property gets that code and keeps its message, an HTTP framework's 4xx error keeps its
 * status. Anything else is `internal error`; the cause is for the log, never for the wire.
 */
export function toRpcError(err: unknown): RpcError {
  if (err instanceof RpcError) return err;
  if (err instanceof InputError) return new RpcError("bad_request", err.message, { cause: err });
  if (err instanceof Error && hasProperty(err, "rpcCode") && isRpcErrorCode(err.rpcCode)) {
    const message = err.rpcCode === "internal" ? "internal error" : err.message;
    return new RpcError(err.rpcCode, message, { cause: err });
  }
  if (err instanceof Error && hasProperty(err, "statusCode") && typeof err.statusCode === "number") {
    if (err.statusCode === 413) return new RpcError("too_large", "request body is too large", { cause: err });
    if (err.statusCode >= 400 && err.statusCode < 500) {
      return new RpcError(codeOfStatus(err.statusCode), err.message, { cause: err });
    }
  }
  return new RpcError("internal", "internal error", { cause: err });
}
