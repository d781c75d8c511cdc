import type { Readable } from "node:stream";
import type { LogQuery } from "./log-query.js";

/** One container as the engine lists it (Docker Engine API, `GET /containers/json`). */
export interface ListedContainer {
  Id: string;
  Names: string[];
  Image: string;
  ImageID: string;
  Command: string;
  /** Unix seconds. */
  Created: number;
  State: string;
  Status: string;
  Labels?: Readonly<Record<string, string>>;
}

/** The log of a container, still running. */
export interface ContainerLog {
  /** With a terminal the stream is the output itself; without one it is multiplexed, see `log-frames.ts`. */
  hasTerminal: boolean;
  /** Destroying it ends the request to the engine. */
  stream: Readable;
}

/** The part of a container engine that tappd needs. */
export interface ContainerEngine {
  /** All containers, stopped ones too. */
  listContainers(signal: AbortSignal): Promise<ListedContainer[]>;
  /** By image id, the names by digest under which a registry gave it (`nginx@sha256:…`). */
  imageDigests(signal: AbortSignal): Promise<ReadonlyMap<string, readonly string[]>>;
  /** @throws {NoSuchContainerError} */
  openLog(container: string, query: LogQuery, signal: AbortSignal): Promise<ContainerLog>;
}

export class NoSuchContainerError extends Error {
  override name = "NoSuchContainerError";
  readonly rpcCode = "not_found";
}

/** The engine does not answer, or answers with a fault of its own. */
export class EngineError extends Error {
  override name = "EngineError";
  readonly rpcCode = "unavailable";
}
