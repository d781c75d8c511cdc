import { errorMessage, withDeadline } from "@dstack/core";
import { openAccount, permissionsOf } from "./accounts.js";
import type { AcmeCa, CaOptions } from "./ca/certificate-authority.js";
import { ariCertId } from "./ca/renewal-info.js";
import { wantedCaa } from "./caa/policy.js";
import { setCaa } from "./caa/set-caa.js";
import { isForNames } from "./certificate.js";
import type { Authority } from "./dns/authority.js";
import { type CaaRecord, type DnsProvider, recordText } from "./dns/provider.js";
import { CaError, CertificateError, StoreError } from "./errors.js";
import type { Log } from "./log.js";
import { recordName } from "./names.js";
import { obtainCertificate } from "./obtain.js";
import { type Rehearsal, rehearse } from "./rehearsal.js";
import { type RenewalDecision, isDueForRenewal } from "./renewal.js";
import { type CertbotStatus, readStatus } from "./status.js";
import { writeAccountFile } from "./store/account-file.js";
import { CredentialsFile } from "./store/credentials.js";
import { type State, readState, writeState } from "./store/state.js";
import { type LiveCertificate, WorkDirectory } from "./store/work-directory.js";

export interface CertbotOptions {
  workDir: string;
  /** Names of the certificate, wildcards included. */
  names: readonly string[];
  /** In order of preference; the next one is asked where one fails. `staging` is for rehearsals. */
  cas: readonly (CaOptions & { staging?: CaOptions | undefined })[];
  /** Told to the CAs as contact. */
  email?: string | undefined;
  dns: DnsProvider;
  authority: Authority;
  maxDnsWaitMs: number;
  renewBeforeMs: number;
  /** Limit for one whole attempt with all its waits. */
  attemptMs: number;
  /** Whether CAA records are kept as wanted. */
  setCaa: boolean;
  /** Makes others use the new certificate. One that throws is run again by each `renew` until it does not. */
  hook?: ((files: { certPath: string; keyPath: string }, signal: AbortSignal) => Promise<void>) | undefined;
  log: Log;
  /** ms */
  now?: (() => number) | undefined;
}

export interface RenewResult {
  renewed: boolean;
  live: LiveCertificate;
  /** When the live certificate is due, ms. */
  nextAt: number;
}

/** An ACME account, as anybody may know it. */
export interface PublicAccount {
  /** URL of the CA's ACME directory. */
  directory: string;
  uri: string;
  /** The CA's names in CAA records. */
  caaNames: readonly string[];
}

/** A CA that limits our rate without saying for how long is left alone for this long. */
const DEFAULT_PAUSE_MS = 3600_000;

/** A clock further off than this is named beside whatever failed: it often is why. */
const MAX_CLOCK_ERROR_MS = 300_000;

function clockSentence(aheadMs: number): string {
  const minutes = Math.round(Math.abs(aheadMs) / 60_000);
  return `this machine's clock is ${minutes} min ${aheadMs > 0 ? "ahead of" : "behind"} the CA's: set it`;
}

/** Keeps one certificate in one work directory. Calls of several processes on one directory wait for each other. */
export class Certbot {
  private constructor(
    private readonly options: CertbotOptions,
    private readonly dir: WorkDirectory,
  ) {}

  static async open(options: CertbotOptions): Promise<Certbot> {
    return new Certbot(options, await WorkDirectory.open(options.workDir));
  }

  /**
   * Registers accounts at all CAs and sets CAA records. Safe to run again.
   * @throws {StoreError} `corrupt`: the credentials cannot be read (C2)
   */
  async init(signal: AbortSignal): Promise<{ accounts: { ca: string; uri: string }[] }> {
    return this.#attempt(signal, async (limit) => {
      const credentials = await CredentialsFile.open(this.dir.credentialsPath);
      const cas = await this.#openAccounts(credentials, limit);
      await this.#tellAccounts(credentials);
      await this.#applyCaa(credentials, limit);
      return { accounts: cas.map((ca) => ({ ca: ca.name, uri: ca.accountUri })) };
    });
  }

  /** Makes CAA records let exactly our accounts issue (C1). @returns records of others, which were kept */
  async setCaa(signal: AbortSignal): Promise<CaaRecord[]> {
    return this.#attempt(signal, async (limit) => {
      const credentials = await this.#credentials();
      await this.#openAccounts(credentials, limit);
      return this.#applyCaa(credentials, limit, true);
    });
  }

  /**
   * One pass: accounts, CAA, a new certificate if the one there is due, the hook if it has not run for it.
   * @param options.force gets a new certificate in any case
   */
  async renew(options: { force?: boolean }, signal: AbortSignal): Promise<RenewResult> {
    return this.#attempt(signal, async (limit) => {
      const { log } = this.options;
      await this.dir.tidy();
      const credentials = await this.#credentials();
      const cas = await this.#openAccounts(credentials, limit);
      await this.#tellAccounts(credentials);
      if (this.options.setCaa) await this.#applyCaa(credentials, limit);
      let live = await this.#liveIfUsable();
      log.info({}, "checking if certificate needs to be renewed");
      const decision = live && (await this.#decide(live, cas, limit));
      const due = options.force === true || decision === undefined || decision.due;
      if (due) {
        const why =
          options.force === true ? "forced" : (decision?.because ?? "there is none for these names");
        log.info({ names: this.options.names, why }, "requesting a new certificate");
        live = await this.#obtain(cas, live, limit);
      }
      if (live === undefined) throw new Error("no certificate after getting one");
      await this.#runHook(live, limit);
      await this.#updateState((state) => ({ ...state, lastFailure: undefined }));
      const nextAt = (await this.#decide(live, [], limit)).at;
      if (!due)
        log.info({ path: this.dir.liveCertPath, nextAt: new Date(nextAt) }, "certificate is up to date");
      return { renewed: due, live, nextAt };
    });
  }

  /** Orders from the staging CAs under the CAA records that production will meet (C4). Nothing is installed. */
  async rehearse(signal: AbortSignal): Promise<Rehearsal[]> {
    return this.#locked(signal, async (limit) => {
      const credentials = await this.#credentials();
      return rehearse({ ...this.options, credentials, dir: this.dir }, limit);
    });
  }

  /** The accounts as they are on disk, without their keys. CAs without one yet are left out. */
  async accounts(): Promise<PublicAccount[]> {
    const credentials = await CredentialsFile.open(this.dir.credentialsPath);
    return this.options.cas.flatMap(({ directory, caaNames }) => {
      const account = credentials.get(directory);
      if (account?.uri === undefined) return [];
      return [{ directory, uri: account.uri, caaNames: caaNames ?? account.caaNames ?? [] }];
    });
  }

  /** What is there, what expires, what would block. Changes nothing and asks no CA. */
  async status(signal: AbortSignal): Promise<CertbotStatus> {
    return readStatus({ ...this.options, now: this.#now(), dir: this.dir }, signal);
  }

  #now(): number {
    return (this.options.now ?? Date.now)();
  }

  #locked<T>(signal: AbortSignal, work: (limit: AbortSignal) => Promise<T>): Promise<T> {
    const { attemptMs } = this.options;
    // As long as another one's attempt may take.
    return this.dir.locked(attemptMs, () => withDeadline("certbot's attempt", attemptMs, work, signal));
  }

  /** As {@link #locked}; a failure is remembered for `status`. */
  #attempt<T>(signal: AbortSignal, work: (limit: AbortSignal) => Promise<T>): Promise<T> {
    return this.#locked(signal, async (limit) => {
      try {
        return await work(limit);
      } catch (err) {
        const lastFailure = { at: new Date(this.#now()).toISOString(), message: errorMessage(err) };
        // A full disk must not hide what failed first.
        if (!signal.aborted) await this.#updateState((state) => ({ ...state, lastFailure })).catch(() => {});
        throw err;
      }
    });
  }

  /** Certificates without the accounts that got them mean that the file was lost: only `init` makes new ones then. */
  async #credentials(): Promise<CredentialsFile> {
    const credentials = await CredentialsFile.open(this.dir.credentialsPath);
    if (credentials.existed || !(await this.dir.hasCertificates())) return credentials;
    throw new StoreError(
      "lost_account",
      `${this.dir.credentialsPath} is gone although certificates are there. Restore it from a backup: CAA records ` +
        `name its account. If it is lost for good, "certbot init" makes a new account and sets CAA anew`,
    );
  }

  /** A CA that is down now only matters if no other one is left. */
  async #openAccounts(credentials: CredentialsFile, signal: AbortSignal): Promise<AcmeCa[]> {
    const { cas, email, log } = this.options;
    const opened: AcmeCa[] = [];
    const failures: unknown[] = [];
    for (const options of cas) {
      try {
        opened.push(await openAccount(credentials, options, email, log, signal));
      } catch (err) {
        if (!(err instanceof CaError)) throw err;
        failures.push(err);
        log.warn({ ca: options.name, reason: err.message }, "no account at this CA");
      }
    }
    if (opened.length === 0) throw failures[0];
    return opened;
  }

  /** The public half of the credentials, in a file of its own. */
  async #tellAccounts(credentials: CredentialsFile): Promise<void> {
    const { cas, names } = this.options;
    const permissions = permissionsOf(credentials, cas);
    const accounts = cas.flatMap(({ name, directory }) => {
      const uri = credentials.get(directory)?.uri;
      return uri === undefined ? [] : [{ ca: name, uri }];
    });
    const caa = [...new Set(names.map(recordName))].flatMap((name) =>
      wantedCaa(name, permissions).map(recordText),
    );
    await writeAccountFile(this.dir.path, { accounts, caa });
  }

  async #applyCaa(credentials: CredentialsFile, signal: AbortSignal, always = false): Promise<CaaRecord[]> {
    const { cas, log, names } = this.options;
    if (!this.options.setCaa && !always) return [];
    const permissions = permissionsOf(credentials, cas);
    const foreign: CaaRecord[] = [];
    for (const name of new Set(names.map(recordName))) {
      log.info({ domain: name }, `setting CAA records for ${name}`);
      foreign.push(...(await setCaa(this.options, name, permissions, signal)));
    }
    return foreign;
  }

  async #liveIfUsable(): Promise<LiveCertificate | undefined> {
    try {
      const live = await this.dir.live();
      return live !== undefined && isForNames(live, this.options.names) ? live : undefined;
    } catch (err) {
      if (!(err instanceof CertificateError)) throw err;
      this.options.log.warn({ reason: err.message }, "the live certificate is damaged; getting another one");
      return undefined;
    }
  }

  async #decide(
    live: LiveCertificate,
    cas: readonly AcmeCa[],
    signal: AbortSignal,
  ): Promise<RenewalDecision> {
    const state = await readState(this.dir.statePath);
    const window = await this.#askRenewalInfo(live, cas, state, signal);
    return isDueForRenewal({
      now: this.#now(),
      notBefore: live.notBefore.getTime(),
      notAfter: live.notAfter.getTime(),
      renewBeforeMs: this.options.renewBeforeMs,
      seed: live.chainPem,
      window,
    });
  }

  /** The CA's wish as it was last heard; asked anew when it said so. Of several CAs, the one that knows the certificate. */
  async #askRenewalInfo(
    live: LiveCertificate,
    cas: readonly AcmeCa[],
    state: State,
    signal: AbortSignal,
  ): Promise<{ start: Date; end: Date } | undefined> {
    const known = state.renewalInfo?.id === live.id ? state.renewalInfo : undefined;
    const asked = known && { start: new Date(known.start), end: new Date(known.end) };
    if (known?.askAgainAt !== undefined && Date.parse(known.askAgainAt) > this.#now()) return asked;
    for (const ca of cas) {
      const window = await ca.renewalInfo(live.chainPem, signal).catch((err: unknown) => {
        signal.throwIfAborted();
        this.options.log.debug({ ca: ca.name, reason: errorMessage(err) }, "no renewal information");
        return undefined;
      });
      if (window === undefined) continue;
      const renewalInfo = {
        id: live.id,
        start: window.start.toISOString(),
        end: window.end.toISOString(),
        ...(window.askAgainAt === undefined ? {} : { askAgainAt: window.askAgainAt.toISOString() }),
      };
      await this.#updateState((current) => ({ ...current, renewalInfo }));
      return window;
    }
    return asked;
  }

  /** From the first CA that gives one. Trouble that is not the CA's ends the attempt: it would meet the next one too. */
  async #obtain(
    cas: readonly AcmeCa[],
    previous: LiveCertificate | undefined,
    signal: AbortSignal,
  ): Promise<LiveCertificate> {
    const { log, names } = this.options;
    const failures: string[] = [];
    for (const ca of cas) {
      const pausedUntil = (await readState(this.dir.statePath)).pauses[ca.name];
      if (pausedUntil !== undefined && Date.parse(pausedUntil) > this.#now()) {
        failures.push(`CA ${ca.name} must not be asked before ${pausedUntil}`);
        continue;
      }
      try {
        const replaces = previous === undefined ? undefined : ariCertId(previous.chainPem);
        const parts = { ...this.options, ca, pendingPath: this.dir.pendingPath(ca.name) };
        await obtainCertificate(
          parts,
          { names, replaces },
          async (chainPem, keyPem) => {
            const id = await this.dir.install(chainPem, keyPem, this.#now());
            log.info({ id, ca: ca.name }, "stored new certificate");
          },
          signal,
        );
        const live = await this.dir.live();
        if (live === undefined) throw new Error("the certificate just installed is not there");
        return live;
      } catch (err) {
        signal.throwIfAborted();
        if (!(err instanceof CaError || err instanceof CertificateError)) throw err;
        failures.push(err.message);
        log.warn({ ca: ca.name, reason: err.message }, "no certificate from this CA");
        if (err.code === "rate_limited") await this.#pause(ca.name, err);
      }
      if (Math.abs(ca.clockAheadMs) > MAX_CLOCK_ERROR_MS) failures.push(clockSentence(ca.clockAheadMs));
    }
    throw new CaError("unavailable", failures.join(". "));
  }

  async #pause(ca: string, err: Error): Promise<void> {
    const until =
      (err instanceof CaError ? err.retryAt : undefined) ?? new Date(this.#now() + DEFAULT_PAUSE_MS);
    await this.#updateState((state) => ({
      ...state,
      pauses: { ...state.pauses, [ca]: until.toISOString() },
    }));
  }

  async #runHook(live: LiveCertificate, signal: AbortSignal): Promise<void> {
    const { hook, log } = this.options;
    if (hook === undefined || (await readState(this.dir.statePath)).hookDoneFor === live.id) return;
    log.info({ id: live.id }, "running the renew hook");
    await hook({ certPath: this.dir.liveCertPath, keyPath: this.dir.liveKeyPath }, signal);
    await this.#updateState((state) => ({ ...state, hookDoneFor: live.id }));
  }

  async #updateState(change: (state: State) => State): Promise<void> {
    await writeState(this.dir.statePath, change(await readState(this.dir.statePath)));
  }
}
