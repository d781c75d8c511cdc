import { createHash } from "node:crypto";
import { lstat, mkdir, readFile, readdir, readlink, rename, rm, stat, symlink } from "node:fs/promises";
import { join, resolve } from "node:path";
import { TimeoutError, errorCode, withProcessLock } from "@dstack/core";
import { type CertificateFacts, readCertificate } from "../certificate.js";
import { StoreError } from "../errors.js";
import { syncDirectory, writeSynced } from "./files.js";

/** The certificate that `live` points at. */
export interface LiveCertificate extends CertificateFacts {
  /** Name of its directory in `backup/`. */
  id: string;
  chainPem: string;
}

/**
 * ```
 * credentials.json      ACME accounts, 0600
 * live -> backup/<id>   one link, so that certificate and key change together
 * backup/<id>/          cert.pem (chain, leaf first) and key.pem (0600) of every certificate ever got
 * acme-account.json     their public half, for others to read
 * pending/<ca>/         key and order in progress, taken up again after a crash
 * state.json            what may be lost: pauses a CA asked for, the last failure
 * ```
 */
export class WorkDirectory {
  private constructor(readonly path: string) {}

  static async open(path: string): Promise<WorkDirectory> {
    await mkdir(join(path, "backup"), { recursive: true, mode: 0o700 });
    return new WorkDirectory(resolve(path));
  }

  get credentialsPath(): string {
    return join(this.path, "credentials.json");
  }
  get statePath(): string {
    return join(this.path, "state.json");
  }
  get liveCertPath(): string {
    return join(this.path, "live", "cert.pem");
  }
  get liveKeyPath(): string {
    return join(this.path, "live", "key.pem");
  }
  pendingPath(ca: string): string {
    return join(this.path, "pending", ca);
  }

  /**
   * Runs work while no other certbot of this machine works in this directory; another one is waited for.
   * @throws {StoreError} `locked` after `timeoutMs`
   */
  async locked<T>(timeoutMs: number, work: () => Promise<T>): Promise<T> {
    const { dev, ino } = await stat(this.path);
    const name = createHash("sha256").update(`${dev}:${ino}`).digest("hex").slice(0, 32);
    let entered = false;
    try {
      return await withProcessLock(`dstack-certbot-${name}`, timeoutMs, () => {
        entered = true;
        return work();
      });
    } catch (err) {
      if (entered || !(err instanceof TimeoutError)) throw err;
      const waited = `for ${timeoutMs / 1000} s`;
      throw new StoreError(
        "locked",
        `another certbot has been working in ${this.path} ${waited}`,
        {},
        { cause: err },
      );
    }
  }

  /**
   * @returns undefined when there is none yet
   * @throws {StoreError} `foreign`: `live` is not a link of ours
   * @throws {CertificateError} `unreadable`
   */
  async live(): Promise<LiveCertificate | undefined> {
    const id = await this.#liveId();
    if (id === undefined) return undefined;
    const chainPem = await readFile(join(this.path, "backup", id, "cert.pem"), "utf8").catch(
      (err: unknown) => {
        if (errorCode(err) === "ENOENT") return "";
        throw err;
      },
    );
    return { id, chainPem, ...readCertificate(chainPem) };
  }

  /** Whether a certificate was ever got. */
  async hasCertificates(): Promise<boolean> {
    return (await readdir(join(this.path, "backup"))).some((name) => !name.startsWith("."));
  }

  /**
   * Keeps a certificate with its key and makes it the live one. A crash at any moment leaves the one before or the new
   * one live, whole.
   * @returns its id: the time, so that ids sort
   */
  async install(chainPem: string, keyPem: string, now: number): Promise<string> {
    const id = await this.#freeId(now);
    const backup = join(this.path, "backup");
    const staged = join(backup, `.${id}.tmp`);
    try {
      await mkdir(staged, { mode: 0o700 });
      await writeSynced(join(staged, "key.pem"), keyPem, 0o600);
      await writeSynced(join(staged, "cert.pem"), chainPem, 0o644);
      await syncDirectory(staged);
      await rename(staged, join(backup, id));
    } catch (err) {
      await rm(staged, { recursive: true, force: true }).catch(() => {});
      throw err;
    }
    await syncDirectory(backup);
    await this.#pointLiveAt(id);
    return id;
  }

  /** Removes what a crash left half done. */
  async tidy(): Promise<void> {
    const backup = join(this.path, "backup");
    const left = (await readdir(backup)).filter((name) => name.startsWith(".") && name.endsWith(".tmp"));
    for (const name of left) await rm(join(backup, name), { recursive: true, force: true });
    await rm(join(this.path, ".live.tmp"), { force: true });
  }

  async #pointLiveAt(id: string): Promise<void> {
    await this.#liveId(); // never rename over what is not ours
    const link = join(this.path, ".live.tmp");
    await rm(link, { force: true });
    await symlink(join("backup", id), link);
    await rename(link, join(this.path, "live"));
    await syncDirectory(this.path);
  }

  async #liveId(): Promise<string | undefined> {
    const live = join(this.path, "live");
    const found = await lstat(live).catch((err: unknown) => {
      if (errorCode(err) === "ENOENT") return undefined;
      throw err;
    });
    if (found === undefined) return undefined;
    const target = found.isSymbolicLink() ? await readlink(live) : "";
    const id = /^backup\/([^/.][^/]*)$/.exec(target)?.[1];
    if (id !== undefined) return id;
    throw new StoreError(
      "foreign",
      `${live} is not a link that certbot made: move it away, then run certbot again`,
    );
  }

  async #freeId(now: number): Promise<string> {
    const taken = await readdir(join(this.path, "backup"));
    for (let ms = now; ; ms++) {
      const id = new Date(ms).toISOString();
      if (!taken.includes(id)) return id;
    }
  }
}
