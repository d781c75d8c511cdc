import { Serial, sleep } from "@dstack/core";
import { checkCoverage } from "@dstack/tls-proxy";
import type { CheckedCertificate } from "@dstack/tls-proxy";
import { ProxyCertificate } from "./proxy-certificate.js";
import type { ProxyCertificateOptions } from "./proxy-certificate.js";

/** How often the files are read again. They are small, and a certificate is renewed while nobody watches. */
const RELOAD_MS = 5_000;

export interface ProxyCertificatesOptions extends Omit<
  ProxyCertificateOptions,
  "certPath" | "keyPath" | "fits" | "onLoaded"
> {
  readonly files: readonly Pick<ProxyCertificateOptions, "certPath" | "keyPath">[];
  /** Told at first and after each change: all that are in use now, in the order of `files`. */
  readonly onChanged: (certificates: readonly CheckedCertificate[]) => void;
  /** Whether there is evidence for each key in use; told after each look. */
  readonly onEvidence: (exists: boolean) => void;
}

/** The proxy's certificates: together they name the wildcard of each base domain, and each is taken anew by itself (P6). */
export class ProxyCertificates {
  readonly #looks = new Serial();
  readonly #each: readonly ProxyCertificate[];
  #isLoaded = false;

  private constructor(readonly options: ProxyCertificatesOptions) {
    this.#each = options.files.map((files, index) => {
      const changed = (next: CheckedCertificate) => this.current.with(index, next);
      return new ProxyCertificate({
        ...options,
        ...files,
        fits: (next) => {
          if (this.#isLoaded) checkCoverage(changed(next), options.baseDomains);
        },
        onLoaded: (next) => {
          if (this.#isLoaded) options.onChanged(changed(next));
        },
      });
    });
  }

  /** @throws CertificateError, or a system error, when there is no usable pair in one of the places, or a name without any */
  static async load(options: ProxyCertificatesOptions): Promise<ProxyCertificates> {
    const certificates = new ProxyCertificates(options);
    for (const certificate of certificates.#each) await certificate.load();
    checkCoverage(certificates.current, options.baseDomains);
    certificates.#isLoaded = true;
    options.onChanged(certificates.current);
    await certificates.#ensureEvidence();
    return certificates;
  }

  /** Each with the files it is from. */
  list(): readonly ProxyCertificate[] {
    return this.#each;
  }

  /** Those in use. */
  get current(): readonly CheckedCertificate[] {
    return this.#each.map(({ current }) => current).filter((current) => current !== undefined);
  }

  /** Unix milliseconds at which the first of them runs out. */
  get notAfterMs(): number {
    return Math.min(...this.current.map(({ notAfterMs }) => notAfterMs));
  }

  /** Why what the files hold now is not in use; undefined where all is. */
  get refusal(): string | undefined {
    const refused = this.#each.filter(({ refusal }) => refusal !== undefined);
    if (refused.length === 0) return undefined;
    if (this.#each.length === 1) return refused[0]?.refusal;
    return refused.map(({ refusal, options }) => `${options.certPath}: ${refusal}`).join("; ");
  }

  /** Looks at all of them again. @returns {@link refusal} */
  reload(): Promise<string | undefined> {
    // One look at a time: what was read first must not be taken last.
    return this.#looks.run(async () => {
      for (const certificate of this.#each) await certificate.takeIfChanged();
      await this.#ensureEvidence();
      return this.refusal;
    });
  }

  /** Looks again and again until the signal aborts. */
  async watch(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(RELOAD_MS, signal).catch(() => {});
      if (!signal.aborted) await this.reload();
    }
  }

  async #ensureEvidence(): Promise<void> {
    for (const certificate of this.#each) await certificate.ensureEvidence();
    this.options.onEvidence(this.#each.every(({ hasEvidence }) => hasEvidence));
  }
}
