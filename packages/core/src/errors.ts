/** An error with a code to switch on and facts to log. Subclasses name the closed set of their codes. */
export abstract class CodedError<Code extends string> extends Error {
  constructor(
    readonly code: Code,
    message: string,
    readonly details: Readonly<Record<string, unknown>> = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The caller gave something we cannot accept. The message says what was wrong and is safe to send back. */
export class InputError extends Error {
  override name = "InputError";
}

/** A wait reached its limit. */
export class TimeoutError extends Error {
  override name = "TimeoutError";
}

/** The message of anything that was thrown. */
export function errorMessage(err: unknown): string {
  return err instanceof Error ? err.message : String(err);
}

/** The `code` of a Node system error (`ENOENT`, `EACCES`, …), if it has one. */
export function errorCode(err: unknown): string | undefined {
  if (typeof err !== "object" || err === null || !("code" in err)) return undefined;
  return typeof err.code === "string" ? err.code : undefined;
}

/** Ends an exhaustive switch: a new variant fails the build, a strange value fails closed. */
export function assertNever(value: never): never {
  throw new Error(`unexpected variant: ${JSON.stringify(value)}`);
}
