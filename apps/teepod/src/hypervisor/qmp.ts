import { open } from "node:fs/promises";
import { constants } from "node:fs";
import { createConnection } from "node:net";
import type { Socket } from "node:net";
import { join } from "node:path";
import { CodedError, withDeadline } from "@dstack/core";

export class QmpError extends CodedError<"closed" | "refused" | "protocol"> {
  override name = "QmpError";
}

/** An event QEMU reports by itself, e.g. `SHUTDOWN` with `{guest, reason}`. */
export interface QmpEvent {
  readonly event: string;
  readonly data: Readonly<Record<string, unknown>>;
}

/** Longest line we take from QEMU. The answers we ask for are a few hundred bytes. */
const MAX_LINE_BYTES = 1024 * 1024;

const COMMAND_LIMIT_MS = 5_000;

type Json = Readonly<Record<string, unknown>>;

function isObject(value: unknown): value is Json {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

interface Pending {
  resolve(value: unknown): void;
  reject(err: Error): void;
}

/** Connects to a unix socket in a directory whose path may be longer than a socket address can be. */
async function connectInDirectory(dir: string, name: string): Promise<Socket> {
  const handle = await open(dir, constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return await new Promise<Socket>((resolve, reject) => {
      const socket = createConnection(join("/proc/self/fd", String(handle.fd), name));
      socket.once("connect", () => resolve(socket));
      socket.once("error", reject);
    });
  } finally {
    await handle.close();
  }
}

/**
 * A connection to QEMU's machine protocol (QMP): one JSON object a line; a greeting, then commands with ids and,
 * in between, events.
 */
export class QmpClient {
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #rest = Buffer.alloc(0);
  #greeted: Pending | undefined;
  #closedBecause: Error | undefined;
  /** Settles when the connection is gone. Never rejects. */
  readonly closed: Promise<void>;

  private constructor(
    readonly socket: Socket,
    readonly onEvent: (event: QmpEvent) => void,
  ) {
    this.closed = new Promise((resolve) => {
      socket.once("close", () => {
        this.#fail(new QmpError("closed", "QEMU closed the monitor connection"));
        resolve();
      });
    });
    socket.on("error", (err) => this.#fail(new QmpError("closed", `monitor connection: ${err.message}`)));
    socket.on("data", (chunk: Buffer) => this.#take(chunk));
    socket.unref();
  }

  /**
   * Connects and leaves negotiation mode.
   * @param dir the VM's directory
   * @throws a system error (`ENOENT`, `ECONNREFUSED`) when nobody listens yet; {QmpError}; {TimeoutError}
   */
  static async connect(dir: string, name: string, onEvent: (event: QmpEvent) => void): Promise<QmpClient> {
    const client = new QmpClient(await connectInDirectory(dir, name), onEvent);
    try {
      await withDeadline("the QEMU monitor's greeting", COMMAND_LIMIT_MS, () => client.#greeting());
      await client.execute("qmp_capabilities");
      return client;
    } catch (err) {
      client.close();
      throw err;
    }
  }

  /**
   * Runs a command and gives its answer.
   * @throws {QmpError} QEMU refused it or went away; {TimeoutError}
   */
  async execute(command: string, args: Json = {}): Promise<unknown> {
    if (this.#closedBecause !== undefined) throw this.#closedBecause;
    const id = this.#nextId++;
    const answer = new Promise<unknown>((resolve, reject) => this.#pending.set(id, { resolve, reject }));
    this.socket.write(`${JSON.stringify({ execute: command, arguments: args, id })}\n`);
    try {
      return await withDeadline(`QEMU's answer to ${command}`, COMMAND_LIMIT_MS, () => answer);
    } finally {
      this.#pending.delete(id);
    }
  }

  close(): void {
    this.#fail(new QmpError("closed", "the monitor connection was closed"));
    this.socket.destroy();
  }

  #greeting(): Promise<unknown> {
    return new Promise((resolve, reject) => {
      if (this.#closedBecause !== undefined) reject(this.#closedBecause);
      else this.#greeted = { resolve, reject };
    });
  }

  #fail(err: Error): void {
    this.#closedBecause ??= err;
    this.#greeted?.reject(err);
    for (const pending of this.#pending.values()) pending.reject(err);
    this.#pending.clear();
  }

  #take(chunk: Buffer): void {
    this.#rest = Buffer.concat([this.#rest, chunk]);
    for (let end = this.#rest.indexOf(10); end !== -1; end = this.#rest.indexOf(10)) {
      const line = this.#rest.subarray(0, end).toString("utf8").trim();
      this.#rest = this.#rest.subarray(end + 1);
      if (line !== "") this.#line(line);
    }
    if (this.#rest.length > MAX_LINE_BYTES) {
      this.#fail(new QmpError("protocol", `QEMU sent a line longer than ${MAX_LINE_BYTES} bytes`));
      this.socket.destroy();
    }
  }

  #line(line: string): void {
    let message: unknown;
    try {
      message = JSON.parse(line);
    } catch {
      this.#fail(new QmpError("protocol", "QEMU sent a line that is not JSON"));
      this.socket.destroy();
      return;
    }
    if (!isObject(message)) return;
    if ("QMP" in message) {
      this.#greeted?.resolve(message["QMP"]);
      return;
    }
    const event = message["event"];
    if (typeof event === "string") {
      this.onEvent({ event, data: isObject(message["data"]) ? message["data"] : {} });
      return;
    }
    const pending = typeof message["id"] === "number" ? this.#pending.get(message["id"]) : undefined;
    if (pending === undefined) return;
    const error = message["error"];
    if (isObject(error)) {
      const why = typeof error["desc"] === "string" ? error["desc"] : "unknown reason";
      pending.reject(new QmpError("refused", `QEMU refused: ${why}`));
    } else {
      pending.resolve(message["return"]);
    }
  }
}
