import { open } from "node:fs/promises";
import type { FileHandle } from "node:fs/promises";
import { Serial } from "@dstack/core";
import type { Clock } from "../clock.js";

export interface AuditEntry {
  readonly who: string;
  readonly role: string;
  /** IP address of the caller. */
  readonly from: string;
  readonly request: string;
  readonly method: string;
  /** The VM it is about, its name for a new one. */
  readonly vm: string;
  readonly outcome: "asked" | "done" | "refused" | "failed";
  readonly message?: string;
  /** The id a method answered. */
  readonly result?: string;
}

/** Every change anyone asked for, one JSON object a line, only ever appended to. */
export class AuditLog implements AsyncDisposable {
  readonly #writes = new Serial();

  private constructor(
    readonly file: FileHandle,
    readonly clock: Clock,
  ) {}

  static async open(path: string, clock: Clock): Promise<AuditLog> {
    return new AuditLog(await open(path, "a", 0o600), clock);
  }

  /** Resolves when the line is on the disk. */
  async append(entry: AuditEntry): Promise<void> {
    const line = `${JSON.stringify({ at: this.clock.now().toISOString(), ...entry })}\n`;
    await this.#writes.run(async () => {
      await this.file.appendFile(line);
      await this.file.datasync();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#writes.run(() => this.file.close());
  }
}
