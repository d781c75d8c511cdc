import { EngineUnavailable, createJsDataPlane, createNativeDataPlane } from "@dstack/tls-proxy";
import type { DataPlane, Dial, JsDataPlaneOptions } from "@dstack/tls-proxy";

/** The engines of `proxy.engine`. */
export const ENGINES = ["js", "native"] as const;

export type Engine = (typeof ENGINES)[number];

export interface DataPlaneParts {
  /** Hears what an operator should know of the native engine: it ended and is started again. */
  readonly onTrouble: (error: Error) => void;
  /** Nobody has chosen an engine, and the native one cannot run here. */
  readonly onFallback: (why: EngineUnavailable) => void;
  /** Leads connections elsewhere; for tests, on the js engine, which is the default then. */
  readonly dial?: Dial | undefined;
  /** Relay threads of the native engine. */
  readonly threads?: number | undefined;
  /** What runs the native engine; for tests. */
  readonly command?: readonly string[];
}

/**
 * Starts the engine that is configured; by default the native one where it can run, else the one in plain Node.
 * @throws a system error when a listener cannot be bound
 * @throws {EngineUnavailable} the native engine is configured and cannot run
 */
export async function startDataPlane(
  configured: Engine | undefined,
  options: Omit<JsDataPlaneOptions, "dial">,
  parts: DataPlaneParts,
): Promise<{ readonly plane: DataPlane; readonly engine: Engine }> {
  const { dial, threads, command, onTrouble } = parts;
  const engine = configured ?? (dial === undefined ? "native" : "js");
  if (engine === "native") {
    try {
      const plane = await createNativeDataPlane({
        ...options,
        onTrouble,
        ...(threads === undefined ? {} : { threads }),
        ...(command === undefined ? {} : { command }),
      });
      return { plane, engine };
    } catch (err) {
      if (configured !== undefined || !(err instanceof EngineUnavailable)) throw err;
      parts.onFallback(err);
    }
  }
  return {
    plane: await createJsDataPlane({ ...options, ...(dial === undefined ? {} : { dial }) }),
    engine: "js",
  };
}
