import { Readable } from "node:stream";
import { errorMessage } from "@dstack/core";
import type Dockerode from "dockerode";
import { EngineError, NoSuchContainerError } from "./engine.js";
import type { ContainerEngine, ContainerLog, ListedContainer } from "./engine.js";
import type { LogQuery } from "./log-query.js";

/**
 * The Docker engine behind a unix socket. The client library is loaded at the first call: it costs more than 10 MB,
 * and many apps never ask.
 */
export class DockerodeEngine implements ContainerEngine {
  readonly #socketPath: string;
  #client: Promise<Dockerode> | undefined;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  async listContainers(signal: AbortSignal): Promise<ListedContainer[]> {
    const client = await this.#open();
    return await client
      .listContainers({ all: true, abortSignal: signal })
      .catch(rethrow("listing containers"));
  }

  async imageDigests(signal: AbortSignal): Promise<ReadonlyMap<string, readonly string[]>> {
    const client = await this.#open();
    const images = await client.listImages({ abortSignal: signal }).catch(rethrow("listing images"));
    // An image that was built or imported here has none, which the engine tells by leaving the list out.
    return new Map(images.map(({ Id, RepoDigests }) => [Id, RepoDigests ?? []]));
  }

  async openLog(container: string, query: LogQuery, signal: AbortSignal): Promise<ContainerLog> {
    const client = await this.#open();
    const inspected = await client
      .getContainer(container)
      .inspect({ abortSignal: signal })
      .catch(rethrow("looking for the container"));
    const stream = await dialStream(client, {
      path: `/containers/${inspected.Id}/logs?`,
      method: "GET",
      abortSignal: signal,
      // `logs()` of the library would collect a log that is not followed in memory before it returns.
      isStream: true,
      statusCodes: { 200: true, 404: "no such container", 500: "server error" },
      options: {
        stdout: true,
        stderr: true,
        since: query.since,
        until: query.until,
        tail: query.tail,
        follow: query.follow,
        timestamps: query.timestamps,
      },
    }).catch(rethrow("opening the container's log"));
    return { hasTerminal: inspected.Config.Tty, stream };
  }

  #open(): Promise<Dockerode> {
    this.#client ??= import("dockerode").then(
      // `host: undefined` keeps a DOCKER_HOST of the environment from replacing the configured socket.
      ({ default: Client }) =>
        new Client({ socketPath: this.#socketPath, host: undefined, protocol: "http" }),
    );
    return this.#client;
  }
}

type DialOptions = Parameters<Dockerode["modem"]["dial"]>[0];

function dialStream(client: Dockerode, options: DialOptions): Promise<Readable> {
  return new Promise((resolve, reject) => {
    client.modem.dial(options, (err: Error | null, result: unknown) => {
      if (err !== null) reject(err);
      else if (result instanceof Readable) resolve(result);
      else reject(new TypeError("the engine's answer is no stream"));
    });
  });
}

function rethrow(what: string): (err: unknown) => never {
  return (err) => {
    const status =
      typeof err === "object" && err !== null && "statusCode" in err ? err.statusCode : undefined;
    if (status === 404) throw new NoSuchContainerError("no such container", { cause: err });
    throw new EngineError(`${what}: the container engine does not answer`, {
      cause: err instanceof Error ? err : new Error(errorMessage(err)),
    });
  };
}
