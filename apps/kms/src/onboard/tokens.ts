import { randomBytes } from "node:crypto";
import { lstat, mkdir, unlink } from "node:fs/promises";
import { join } from "node:path";
import { InputError, createFileExclusive, errorCode, hex, sha256 } from "@dstack/core";

const TOKEN_BYTES = 32;
/** Long enough to carry it to the replica's machine. */
const LIFETIME_MS = 15 * 60_000;

/**
 * One-time tokens for becoming a replica (K6). A token is known by a file that is named after its hash: it can be
 * taken once, by removing the file, whatever dies in between; and who reads the directory learns none.
 */
export class OnboardTokens {
  private constructor(private readonly dir: string) {}

  /**
   * Opens the directory, making it where there is none.
   * @throws {InputError} others could make tokens of their own
   */
  static async open(dir: string): Promise<OnboardTokens> {
    await mkdir(dir, { recursive: true, mode: 0o700 });
    const stat = await lstat(dir);
    if (!stat.isDirectory()) throw new InputError(`token directory ${dir} is not a directory`);
    if ((stat.mode & 0o022) !== 0) {
      throw new InputError(`token directory ${dir} may be written by others; run: chmod go-w ${dir}`);
    }
    return new OnboardTokens(dir);
  }

  /** Makes a token that is good for 15 minutes. */
  async create(): Promise<string> {
    const token = randomBytes(TOKEN_BYTES).toString("base64url");
    await createFileExclusive(this.#pathOf(token), "", { mode: 0o600 });
    return token;
  }

  /**
   * Uses a token up.
   * @param now Unix milliseconds
   * @returns whether it was good
   */
  async take(token: string, now: number): Promise<boolean> {
    const path = this.#pathOf(token);
    try {
      const { mtimeMs } = await lstat(path);
      await unlink(path);
      return now < mtimeMs + LIFETIME_MS;
    } catch (err) {
      if (errorCode(err) === "ENOENT") return false;
      throw err;
    }
  }

  #pathOf(token: string): string {
    return join(this.dir, hex(sha256("dstack-onboard-token:", token)));
  }
}
