import { assertNever } from "@dstack/core";
import { createJsDataPlane, createNativeDataPlane } from "@dstack/tls-proxy";
import type { DataPlane, Dial, JsDataPlaneOptions } from "@dstack/tls-proxy";

/** The engines of `proxy.engine`. */
export const ENGINES = ["js", "native"] as const;

/**
 * Starts the engine that is configured.
 * @param parts.onTrouble hears what an operator should know of the native engine: it ended and is started again
 * @param parts.dial leads connections elsewhere; for tests, on the js engine
 * @throws a system error when a listener cannot be bound; an error that says what is missing for the native engine
 */
export async function startDataPlane(
  engine: (typeof ENGINES)[number],
  options: Omit<JsDataPlaneOptions, "dial">,
  parts: {
    readonly onTrouble: (error: Error) => void;
    readonly dial?: Dial | undefined;
    /** Relay threads of the native engine. */
    readonly threads?: number | undefined;
  },
): Promise<DataPlane> {
  switch (engine) {
    case "js":
      return createJsDataPlane({ ...options, ...(parts.dial === undefined ? {} : { dial: parts.dial }) });
    case "native":
      return createNativeDataPlane({
        ...options,
        onTrouble: parts.onTrouble,
        ...(parts.threads === undefined ? {} : { threads: parts.threads }),
      });
    default:
      return assertNever(engine);
  }
}
