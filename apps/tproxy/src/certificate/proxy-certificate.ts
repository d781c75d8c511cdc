import { realpath } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import { errorMessage, readRegularFile } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import { checkCertificate } from "@dstack/tls-proxy";
import type { CheckedCertificate } from "@dstack/tls-proxy";
import type { KeyEvidenceStore } from "./key-evidence.js";
import type { KeyHistory } from "./key-history.js";

const MAX_PEM_BYTES = 256 * 1024;

export interface ProxyCertificateOptions {
  readonly certPath: string;
  readonly keyPath: string;
  /** It must name something under at least one. */
  readonly baseDomains: readonly string[];
  readonly history: KeyHistory;
  readonly evidence: KeyEvidenceStore;
  readonly log: Logger;
  /** Whether it may take the place of the one in use. @throws CertificateError a name would be left without any */
  readonly fits: (certificate: CheckedCertificate) => void;
  /** A new pair passed all checks; its key is in the history. */
  readonly onLoaded: (certificate: CheckedCertificate) => void;
  readonly onRefused: () => void;
}

/** One certificate of the proxy: taken from two files, and taken anew when they change and fit together (P6). */
export class ProxyCertificate {
  #seen: string | undefined;
  #refusal: string | undefined;
  #noEvidence: string | undefined;
  #hasEvidence = false;
  #current: CheckedCertificate | undefined;

  constructor(readonly options: ProxyCertificateOptions) {}

  /** The first look. @throws CertificateError, or a system error, when there is no usable pair to begin with */
  async load(): Promise<CheckedCertificate> {
    const [certPem, keyPem] = await this.#read();
    return this.#take(certPem, keyPem);
  }

  /** The pair in use. */
  get current(): CheckedCertificate | undefined {
    return this.#current;
  }

  /** Why what the files hold now is not in use; undefined where it is. */
  get refusal(): string | undefined {
    return this.#refusal;
  }

  /** Whether there is evidence for the key in use, as of the last look. */
  get hasEvidence(): boolean {
    return this.#hasEvidence;
  }

  /** Looks again. A pair that does not pass leaves the old one in place and is loud once. One look at a time. */
  async takeIfChanged(): Promise<void> {
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

  /** Without evidence the certificate serves all the same: what is missing is a monitor's, and is tried again. */
  async ensureEvidence(): Promise<void> {
    if (this.#current === undefined) return;
    const { evidence, log } = this.options;
    try {
      this.#hasEvidence = await evidence.ensure(this.#current.spkiDer);
      this.#noEvidence = undefined;
    } catch (err) {
      this.#hasEvidence = false;
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

  async #take(certPem: string, keyPem: string): Promise<CheckedCertificate> {
    const { baseDomains, history, fits, onLoaded } = this.options;
    const certificate = checkCertificate({ certPem, keyPem, baseDomains, now: new Date() });
    fits(certificate);
    await history.add(certificate.spkiDer);
    onLoaded(certificate);
    this.#current = certificate;
    this.#seen = certPem + keyPem;
    this.#refusal = undefined;
    return certificate;
  }
}
