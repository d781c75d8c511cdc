import { availableParallelism } from "node:os";
import { getSystemErrorName } from "node:util";
import { assertNever, sleep } from "@dstack/core";
import type { CheckedCertificate } from "../certificate.js";
import type {
  CustomDestination,
  DataPlane,
  DataPlaneOptions,
  DataPlaneStats,
  DrainScope,
  OpenConnection,
  RouteTable,
} from "../data-plane.js";
import { waitUntilGone } from "../drain.js";
import { DEFAULT_LIMITS, TICKET_KEY_MS } from "../limits.js";
import type { Limits } from "../limits.js";
import type { ServerName } from "../server-name.js";
import { EngineUnavailable, engineCommand } from "./engine-command.js";
import type { EngineEvent } from "./events.js";
import { ENDED_WELL, EngineProcess } from "./engine-process.js";
import { Watchdog } from "./watchdog.js";
import {
  acceptingCommand,
  certificatesCommand,
  endCommand,
  foundCommand,
  isId,
  listCommand,
  routesCommand,
  startCommand,
  stopCommand,
} from "./commands.js";

export interface NativeDataPlaneOptions extends DataPlaneOptions {
  readonly limits?: Partial<Limits>;
  /** Relay threads, at most 16; as many as there are cores for us unless given. */
  readonly threads?: number;
  /** Program and arguments that run the engine, where it is not the addon; for checks built into a whole process. */
  readonly command?: readonly string[];
  /** An engine that is silent for longer, of the time in which we run ourselves, is ended and started again; 30 s unless given. */
  readonly silenceMs?: number;
  /** Told what an operator should know: the engine ended and is started again, or it does not take a certificate. */
  readonly onTrouble?: (error: Error) => void;
}

/** Between two starts of an engine that does not stay up; doubles up to the longest. */
const FIRST_BACK_OFF_MS = 100;
const LONGEST_BACK_OFF_MS = 5_000;
/** An engine that has run so long starts again at once when it ends. */
const STABLE_AFTER_MS = 10_000;
/** Connections told of at once: what fits into one frame. */
const LONGEST_LIST = 10_000;
/** `MAX_THREADS` of the engine. */
const MOST_THREADS = 16;
/** A machine has to be in a bad way for that; and in a worse one for an engine that hangs. */
const SILENCE_MS = 30_000;
/** From spawning to listening. */
const START_LIMIT_MS = 30_000;

/**
 * The data plane in C, in a process of its own (`native/`). An engine that dies, or hangs, is started again with what the
 * last one was told; connections that were open are lost, and have no report.
 * @throws a system error when a listener cannot be bound
 * @throws {EngineUnavailable} it cannot run on this machine
 */
export async function createNativeDataPlane(options: NativeDataPlaneOptions): Promise<DataPlane> {
  const plane = new NativeDataPlane(options);
  try {
    await plane.start();
  } catch (err) {
    await plane.close();
    throw err;
  }
  return plane;
}

interface Question {
  /** Threads that have not answered yet. */
  left: number;
  readonly open: OpenConnection[];
  readonly resolve: (open: readonly OpenConnection[]) => void;
}

class NativeDataPlane implements DataPlane {
  readonly #command: readonly string[];
  readonly #limits: Limits;
  readonly #threads: number;
  readonly #ticketKeys: NodeJS.Timeout;
  readonly #stopping = new AbortController();
  #listeners: DataPlaneOptions["listeners"];
  #routes: RouteTable;
  /** What the running engine has. */
  #sent: RouteTable["backends"] = new Map();
  #certificates: readonly CheckedCertificate[];
  /** Stay when the engine refuses the new ones, also for the next engine. */
  #certificatesBefore: readonly CheckedCertificate[] = [];
  #engine: EngineProcess | undefined;
  #running: Promise<void> | undefined;
  #open = 0;
  readonly #openByApp = new Map<string, number>();
  readonly #openByInstance = new Map<string, number>();
  #accepting = true;
  #lastNumber = 0n;
  /** Commands of the running engine that wait for the answers of its threads. */
  readonly #asked = new Map<bigint, Question>();

  constructor(readonly options: NativeDataPlaneOptions) {
    this.#command = options.command ?? engineCommand();
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    this.#threads = Math.min(options.threads ?? availableParallelism(), MOST_THREADS);
    this.#listeners = options.listeners;
    this.#routes = options.routes;
    this.#certificates = options.certificates ?? [];
    this.#ticketKeys = setInterval(() => this.#sendCertificates(), TICKET_KEY_MS);
    this.#ticketKeys.unref();
  }

  get listeners(): DataPlane["listeners"] {
    return this.#listeners.map(({ host, port }) => ({ host, port }));
  }

  /** Starts the first engine and keeps one running from then on. */
  async start(): Promise<void> {
    this.#running = this.#keepRunning(await this.#startEngine());
  }

  setRoutes(routes: RouteTable): void {
    this.#routes = routes;
    this.#sendRoutes();
  }

  setCertificates(certificates: readonly CheckedCertificate[]): void {
    this.#certificatesBefore = this.#certificates;
    this.#certificates = certificates;
    this.#sendCertificates();
  }

  stats(): DataPlaneStats {
    return {
      open: this.#open,
      openByApp: new Map(this.#openByApp),
      openByInstance: new Map(this.#openByInstance),
    };
  }

  async connections(most: number): Promise<readonly OpenConnection[]> {
    const open = await this.#ask((number) => listCommand(number, Math.min(most, LONGEST_LIST)));
    return open.toSorted((a, b) => b.id - a.id).slice(0, most); // each thread has told of its newest
  }

  async setAccepting(accepting: boolean): Promise<void> {
    this.#accepting = accepting;
    await this.#ask((number) => acceptingCommand(number, accepting));
  }

  async drain(scope: DrainScope, limitMs: number, signal?: AbortSignal): Promise<void> {
    const signals = signal === undefined ? [] : [signal];
    const until = AbortSignal.any([this.#stopping.signal, ...signals]);
    await waitUntilGone(() => this.stats(), scope, limitMs, until);
    // Also when nothing is open any more: what we know is a moment old.
    await this.#ask((number) => endCommand(number, scope));
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    clearInterval(this.#ticketKeys);
    this.#engine?.send(stopCommand());
    const how = await this.#engine?.waitForEnd();
    const wasRunning = this.#running !== undefined;
    await this.#running;
    if (wasRunning && how !== ENDED_WELL) {
      this.options.onTrouble?.(new Error(`the native data plane did not end as it was told to (${how})`));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** @returns when it listens, on the ports of the one before */
  async #startEngine(): Promise<EngineProcess> {
    const { promise, resolve, reject } = deferred<readonly number[]>();
    const engine: EngineProcess = new EngineProcess(this.#command, (event) => {
      if (event.type === "started") resolve(event.ports);
      else if (event.type === "failed") reject(this.#listenError(event));
      else this.#take(engine, event, reject);
    });
    this.#engine = engine;
    void engine.ended.then((how) => {
      reject(new EngineUnavailable(`the native data plane does not start (${how})`));
      for (const { resolve: answer } of this.#asked.values()) answer([]); // nothing is open any more
      this.#asked.clear();
    });
    const limit = setTimeout(() => engine.kill(), START_LIMIT_MS);
    this.#sent = new Map();
    this.#sendRoutes();
    this.#sendCertificates();
    engine.send(startCommand(this.#limits, this.#listeners, this.#threads, this.#accepting));
    try {
      const ports = await promise;
      this.#listeners = this.#listeners.map((listener, index) => ({ ...listener, port: ports[index] ?? 0 }));
      return engine;
    } catch (err) {
      engine.kill();
      throw err;
    } finally {
      clearTimeout(limit);
    }
  }

  async #keepRunning(first: EngineProcess): Promise<void> {
    let engine: EngineProcess | undefined = first;
    let delayMs = 0;
    while (engine !== undefined) {
      const since = performance.now();
      const how = await this.#watch(engine);
      this.#forgetCounts();
      if (this.#stopping.signal.aborted) return;
      this.options.onTrouble?.(new Error(`the native data plane ended (${how}) and is started again`));
      const wasStable = performance.now() - since >= STABLE_AFTER_MS;
      engine = await this.#startAgain(wasStable ? 0 : Math.max(delayMs, FIRST_BACK_OFF_MS));
      delayMs = wasStable ? 0 : Math.min(2 * Math.max(delayMs, FIRST_BACK_OFF_MS), LONGEST_BACK_OFF_MS);
    }
  }

  /** @returns undefined when we are to stop */
  async #startAgain(firstDelayMs: number): Promise<EngineProcess | undefined> {
    const { signal } = this.#stopping;
    let delayMs = firstDelayMs;
    for (;;) {
      await sleep(delayMs, signal).catch(() => {});
      if (signal.aborted) return undefined;
      try {
        return await this.#startEngine();
      } catch (err) {
        if (signal.aborted) return undefined;
        this.options.onTrouble?.(err instanceof Error ? err : new Error(String(err)));
        delayMs = Math.min(2 * Math.max(delayMs, FIRST_BACK_OFF_MS), LONGEST_BACK_OFF_MS);
      }
    }
  }

  /** Waits for its end, and sees to it that it comes where the engine, or one of its threads, hangs. */
  async #watch(engine: EngineProcess): Promise<string> {
    const limitMs = this.options.silenceMs ?? SILENCE_MS;
    const ask = (): Promise<unknown> => this.#ask((number) => listCommand(number, 0));
    using _watchdog = new Watchdog(limitMs, ask, () => engine.kill(`silent for ${limitMs / 1000} s`));
    return await engine.ended;
  }

  #take(
    engine: EngineProcess,
    event: Exclude<EngineEvent, { type: "started" | "failed" }>,
    failStart: (error: Error) => void,
  ): void {
    switch (event.type) {
      case "reports":
        for (const report of event.reports) this.options.onConnection?.(report);
        return;
      case "counts":
        this.#open = event.open;
        update(this.#openByApp, event.apps);
        update(this.#openByInstance, event.instances);
        return;
      case "lookup":
        void this.#lookUp(event.domain, event.source).then((destination) =>
          engine.send(foundCommand(event.number, destination)),
        );
        return;
      case "refusedCertificates": {
        this.#certificates = this.#certificatesBefore;
        const error = new Error("OpenSSL does not take the certificates; those before stay");
        failStart(error); // says nothing once it has started
        this.options.onTrouble?.(error);
        return;
      }
      case "connections":
        this.#answer(event.number, event.open);
        return;
      case "done":
        this.#answer(event.number, []);
        return;
      default:
        assertNever(event);
    }
  }

  /** Never rejects: who cannot be asked knows nothing. */
  async #lookUp(domain: ServerName, source: string): Promise<CustomDestination | undefined> {
    try {
      const found = await this.options.lookup?.(domain, source);
      return found === undefined || !isId(found.id) ? undefined : found;
    } catch {
      return undefined;
    }
  }

  /** Sends a command that has an answer. That comes in any case: from the engine, or by its end. */
  #ask(command: (number: bigint) => Buffer): Promise<readonly OpenConnection[]> {
    if (this.#engine?.isOver !== false) return Promise.resolve([]);
    const number = ++this.#lastNumber;
    this.#engine.send(command(number));
    return new Promise((resolve) => this.#asked.set(number, { left: this.#threads, open: [], resolve }));
  }

  #answer(number: bigint, open: readonly OpenConnection[]): void {
    const question = this.#asked.get(number);
    if (question === undefined) return;
    question.open.push(...open);
    question.left -= 1;
    if (question.left > 0) return;
    this.#asked.delete(number);
    question.resolve(question.open);
  }

  #sendRoutes(): void {
    const command = routesCommand(this.#routes, this.#sent);
    this.#sent = this.#routes.backends;
    this.#engine?.send(command);
  }

  #sendCertificates(): void {
    this.#engine?.send(certificatesCommand(this.#certificates));
  }

  #forgetCounts(): void {
    this.#open = 0;
    this.#openByApp.clear();
    this.#openByInstance.clear();
  }

  #listenError({ errno, listener }: { errno: number; listener: number }): Error {
    const { host, port } = this.#listeners[listener] ?? { host: "", port: 0 };
    const code = getSystemErrorName(-errno);
    const facts = { code, errno: -errno, syscall: "listen", address: host, port };
    return Object.assign(new Error(`listen ${code}: ${host}:${port}`), facts);
  }
}

function deferred<T>(): {
  promise: Promise<T>;
  resolve: (value: T) => void;
  reject: (error: Error) => void;
} {
  let resolve: (value: T) => void = () => {};
  let reject: (error: Error) => void = () => {};
  const promise = new Promise<T>((res, rej) => {
    resolve = res;
    reject = rej;
  });
  return { promise, resolve, reject };
}

function update(counts: Map<string, number>, changes: readonly (readonly [string, number])[]): void {
  for (const [id, open] of changes) {
    if (open === 0) counts.delete(id);
    else counts.set(id, open);
  }
}
