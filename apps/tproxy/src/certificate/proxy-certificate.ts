import { realpath } from "node:fs/promises";
import { errorMessage, readRegularFile, sleep } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import { checkCertificate } from "@dstack/tls-proxy";
import type { CheckedCertificate } from "@dstack/tls-proxy";
import type { KeyHistory } from "./key-history.js";

/** How often the files are read again. They are small, and a certificate is renewed while nobody watches. */
export const RELOAD_MS = 5_000;
const MAX_PEM_BYTES = 256 * 1024;

export interface ProxyCertificateOptions {
  readonly certPath: string;
  readonly keyPath: string;
  readonly baseDomain: string;
  readonly history: KeyHistory;
  readonly log: Logger;
  /** A new pair passed all checks; its key is in the history. */
  readonly onLoaded: (certificate: CheckedCertificate) => void;
  readonly onRefused: () => void;
}

/** The proxy's certificate: taken from two files, and taken anew when they change and fit together (P6). */
export class ProxyCertificate {
  #seen: string | undefined;
  #refusal: string | undefined;

  private constructor(readonly options: ProxyCertificateOptions) {}

  /** @throws CertificateError, or a system error, when there is no usable pair to begin with */
  static async load(options: ProxyCertificateOptions): Promise<ProxyCertificate> {
    const certificate = new ProxyCertificate(options);
    const [certPem, keyPem] = await certificate.#read();
    await certificate.#take(certPem, keyPem);
    return certificate;
  }

  /** Looks again. A pair that does not pass leaves the old one in place and is loud once. */
  async reload(): Promise<void> {
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

  async #read(): Promise<[string, string]> {
    const { certPath, keyPath } = this.options;
    // Links are followed: certificate managers swap `live/` links. The operator names these files, not a stranger.
    const read = async (path: string): Promise<string> =>
      Buffer.from(await readRegularFile(await realpath(path), MAX_PEM_BYTES)).toString("utf8");
    return [await read(certPath), await read(keyPath)];
  }

  async #take(certPem: string, keyPem: string): Promise<void> {
    const { baseDomain, history, onLoaded } = this.options;
    const certificate = checkCertificate({ certPem, keyPem, baseDomains: [baseDomain], now: new Date() });
    await history.add(certificate.spkiDer);
    onLoaded(certificate);
    this.#seen = certPem + keyPem;
    this.#refusal = undefined;
  }
}
