import { Readable } from "node:stream";
import { NoSuchContainerError } from "../../src/docker/engine.js";
import type { ContainerEngine, ContainerLog, ListedContainer } from "../../src/docker/engine.js";
import type { LogQuery } from "../../src/docker/log-query.js";

/** One frame as the engine sends it for a container without a terminal. */
export function frame(stream: 1 | 2, text: string | Uint8Array): Buffer {
  const bytes = Buffer.from(text as string);
  const header = Buffer.alloc(8);
  header.writeUInt8(stream, 0);
  header.writeUInt32BE(bytes.length, 4);
  return Buffer.concat([header, bytes]);
}

/** A container engine in memory. */
export class FakeEngine implements ContainerEngine {
  containers: ListedContainer[] = [];
  digests = new Map<string, readonly string[]>();
  logs = new Map<string, () => ContainerLog>();
  queries: { container: string; query: LogQuery }[] = [];

  async listContainers(): Promise<ListedContainer[]> {
    return this.containers;
  }

  async imageDigests(): Promise<ReadonlyMap<string, readonly string[]>> {
    return this.digests;
  }

  async openLog(container: string, query: LogQuery): Promise<ContainerLog> {
    this.queries.push({ container, query });
    const log = this.logs.get(container);
    if (log === undefined) throw new NoSuchContainerError("no such container");
    return log();
  }

  /** Gives a container a log that ends. */
  setLog(container: string, ...frames: Buffer[]): void {
    this.logs.set(container, () => ({
      hasTerminal: false,
      stream: Readable.from(frames, { objectMode: false }),
    }));
  }
}
