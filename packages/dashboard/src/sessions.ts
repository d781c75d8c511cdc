import { randomBytes } from "node:crypto";
import { Serial, errorMessage, hex, readRegularFileIfAny, sha256, writeFileAtomic } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import { z } from "zod";
import type { KnownToken } from "./tokens.js";

/** A working day: then the page asks for the token again. */
export const SESSION_SECONDS = 12 * 3600;
/** Browsers that are logged in at a time; one more ends the oldest session. */
const MAX_SESSIONS = 256;
const MAX_FILE_BYTES = 256 * 1024;

const digest = z.string().regex(/^[0-9a-f]{64}$/);
const Saved = z.array(z.strictObject({ session: digest, token: digest, expires_at: z.number() }));
type Session = z.output<typeof Saved>[number];

/** A test has its own. */
export interface SessionClock {
  now(): Date;
}

/**
 * Who is logged in with a browser. Kept in a file, so that a page outlives a restart of the daemon.
 *
 * The file is worth nothing to its reader: a session id stands in it as its SHA-256, and the token it was begun with
 * as the SHA-256 of both, so that a session ends with its token.
 */
export class Sessions<T extends KnownToken> {
  readonly #writes = new Serial();

  private constructor(
    readonly path: string,
    readonly tokens: readonly T[],
    readonly clock: SessionClock,
    readonly log: Logger,
    private sessions: readonly Session[],
  ) {}

  /** A file that is none any more ends all sessions, and nothing else. */
  static async open<T extends KnownToken>(
    path: string,
    tokens: readonly T[],
    clock: SessionClock,
    log: Logger,
  ): Promise<Sessions<T>> {
    let saved: Session[] = [];
    try {
      const bytes = await readRegularFileIfAny(path, MAX_FILE_BYTES);
      if (bytes !== undefined) saved = Saved.parse(JSON.parse(new TextDecoder().decode(bytes)));
    } catch (err) {
      log.warn({ path, reason: errorMessage(err) }, "cannot read the dashboard's sessions: all have ended");
    }
    return new Sessions(path, tokens, clock, log, saved);
  }

  /** Begins a session; gives its id, 128 hex digits, which only the browser keeps. */
  async begin(token: T): Promise<string> {
    const id = hex(randomBytes(64));
    const session = {
      session: hex(sha256(id)),
      token: tokenMark(id, token),
      expires_at: this.clock.now().getTime() + SESSION_SECONDS * 1000,
    };
    await this.#change((all) => [...all, session].slice(-MAX_SESSIONS));
    return id;
  }

  /** The token a session was begun with, as long as both hold. */
  find(id: string): T | undefined {
    const key = hex(sha256(id));
    const session = this.sessions.find((candidate) => candidate.session === key);
    if (session === undefined || session.expires_at <= this.clock.now().getTime()) return undefined;
    return this.tokens.find((token) => tokenMark(id, token) === session.token);
  }

  async end(id: string): Promise<void> {
    const key = hex(sha256(id));
    await this.#change((all) => all.filter((session) => session.session !== key));
  }

  async #change(change: (all: readonly Session[]) => Session[]): Promise<void> {
    await this.#writes.run(async () => {
      const now = this.clock.now().getTime();
      this.sessions = change(this.sessions.filter((session) => session.expires_at > now));
      try {
        await writeFileAtomic(this.path, JSON.stringify(this.sessions), { mode: 0o600 });
      } catch (err) {
        // A full disk is what an operator logs in for. The sessions hold as long as this process.
        this.log.error(
          { path: this.path, reason: errorMessage(err) },
          "cannot keep the dashboard's sessions",
        );
      }
    });
  }
}

function tokenMark(id: string, token: KnownToken): string {
  return hex(sha256(id, token.digest));
}
