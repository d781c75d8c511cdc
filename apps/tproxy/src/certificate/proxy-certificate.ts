import { realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { Serial, errorMessage, readRegularFile, sleep } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import { checkCertificate } from "@dstack/tls-proxy";
import type { CheckedCertificate } from "@dstack/tls-proxy";
import type { KeyEvidenceStore } from "./key-evidence.js";
import type { KeyHistory } from "./key-history.js";

/** How often the files are read again. They are small, and a certificate is renewed while nobody watches. */
export const RELOAD_MS = 5_000;
const MAX_PEM_BYTES = 256 * 1024;

export interface ProxyCertificateOptions {
  readonly certPath: string;
  readonly keyPath: string;
  /** It must name the wildcard of each. */
  readonly baseDomains: readonly string[];
  readonly history: KeyHistory;
  readonly evidence: KeyEvidenceStore;
  readonly log: Logger;
  /** A new pair passed all checks; its key is in the history. */
  readonly onLoaded: (certificate: CheckedCertificate) => void;
  readonly onRefused: () => void;
  /** Whether there is evidence for the key in use; told after each look. */
  readonly onEvidence: (exists: boolean) => void;
}

/** The proxy's certificate: taken from two files, and taken anew when they change and fit together (P6). */
export class ProxyCertificate {
  readonly #looks = new Serial();
  #seen: string | undefined;
  #refusal: string | undefined;
  #noEvidence: string | undefined;
  #current: CheckedCertificate | undefined;

  private constructor(readonly options: ProxyCertificateOptions) {}

  /** @throws CertificateError, or a system error, when there is no usable pair to begin with */
  static async load(options: ProxyCertificateOptions): Promise<ProxyCertificate> {
    const certificate = new ProxyCertificate(options);
    const [certPem, keyPem] = await certificate.#read();
    await certificate.#take(certPem, keyPem);
    await certificate.#ensureEvidence();
    return certificate;
  }

  /** The pair in use. */
  get current(): CheckedCertificate | undefined {
    return this.#current;
  }

  /** Why what the files hold now is not in use; undefined where it is. */
  get refusal(): string | undefined {
    return this.#refusal;
  }

  /**
   * Looks again. A pair that does not pass leaves the old one in place and is loud once.
   * @returns {@link refusal}
   */
  reload(): Promise<string | undefined> {
    // One look at a time: what was read first must not be taken last.
    return this.#looks.run(async () => {
      await this.#takeIfChanged();
      await this.#ensureEvidence();
      return this.#refusal;
    });
  }

  async #takeIfChanged(): Promise<void> {
    try {
      const [certPem, keyPem] = await this.#read();
      if (certPem + keyPem === this.#seen) return;
      await this.#take(certPem, keyPem);
      this.options.log.info({ path: this.options.certPath }, "new certificate is in use");
    } catch (err) {
      // Renewal writes two files: the next look may find them matching.
      if (errorMessage(err) === this.#refusal) return;
      this.#refusal = errorMessage(err);
      this.options.onRefused();
      this.options.log.error(
        { err, path: this.options.certPath },
        "new certificate refused, the old one stays in use",
      );
    }
  }

  /** Looks again and again until the signal aborts. */
  async watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(RELOAD_MS, signal).catch(() => {});
      if (!signal.aborted) await this.reload();
    }
  }

  /** Without evidence the certificate serves all the same: what is missing is a monitor's, and is tried again. */
  async #ensureEvidence(): Promise<void> {
    if (this.#current === undefined) return;
    const { evidence, onEvidence, log } = this.options;
    try {
      onEvidence(await evidence.ensure(this.#current.spkiDer));
      this.#noEvidence = undefined;
    } catch (err) {
      onEvidence(false);
      if (errorMessage(err) === this.#noEvidence) return;
      this.#noEvidence = errorMessage(err);
      log.error({ err }, "no evidence for the certificate's key: monitors will not know it; trying again");
    }
  }

  async #read(): Promise<[string, string]> {
    const { certPath, keyPath } = this.options;
    // Links are followed: certificate managers swap `live/` links. The operator names these files, not a stranger. A
    // directory both lie in is resolved once: a link that is swapped meanwhile cannot give one file of each pair.
    const directories = new Map<string, string>();
    const read = async (path: string): Promise<string> => {
      const directory = directories.get(dirname(path)) ?? (await realpath(dirname(path)));
      directories.set(dirname(path), directory);
      const file = await realpath(join(directory, basename(path)));
      return Buffer.from(await readRegularFile(file, MAX_PEM_BYTES)).toString("utf8");
    };
    return [await read(certPath), await read(keyPath)];
  }

  async #take(certPem: string, keyPem: string): Promise<void> {
    const { baseDomains, history, onLoaded } = this.options;
    const certificate = checkCertificate({ certPem, keyPem, baseDomains, now: new Date() });
    await history.add(certificate.spkiDer);
    onLoaded(certificate);
    this.#current = certificate;
    this.#seen = certPem + keyPem;
    this.#refusal = undefined;
  }
}
