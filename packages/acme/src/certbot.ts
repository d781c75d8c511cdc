import { errorMessage, withDeadline } from "@dstack/core";
import { openAccounts, permissionsOf } from "./accounts.js";
import type { AcmeCa, CaOptions } from "./ca/certificate-authority.js";
import { wantedCaa } from "./caa/policy.js";
import { setCaa } from "./caa/set-caa.js";
import { isForNames } from "./certificate.js";
import { type Cluster, refuseOtherAccounts } from "./cluster.js";
import type { Authority } from "./dns/authority.js";
import { type CaaRecord, type DnsProvider, recordText } from "./dns/provider.js";
import { CertificateError, ClusterError, StoreError } from "./errors.js";
import { type FailoverParts, obtainFromFirst } from "./failover.js";
import type { Log } from "./log.js";
import { recordName } from "./names.js";
import { type Rehearsal, rehearse } from "./rehearsal.js";
import { renewAlone } from "./renew-alone.js";
import { decideRenewal } from "./renewal-decision.js";
import { type CertbotStatus, readStatus } from "./status.js";
import { writeAccountFile } from "./store/account-file.js";
import { CredentialsFile } from "./store/credentials.js";
import { readState, updateState } from "./store/state.js";
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
  /** Where the CAA records of a name are kept: for delegated names. At the name itself by default. */
  caaAt?: ((name: string, signal: AbortSignal) => Promise<string>) | undefined;
  /** Makes others use the new certificate. One that throws is run again by each `renew` until it does not. */
  hook?: ((files: { certPath: string; keyPath: string }, signal: AbortSignal) => Promise<void>) | undefined;
  /** The machines that do the same, where there are several. */
  cluster?: Cluster | undefined;
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
   * One pass: accounts, CAA, a new certificate if the one there is due, the hook if it has not run for it. In a cluster
   * it waits for the others; when they hold it up until the certificate is about to end, it renews without them.
   * @param options.force gets a new certificate in any case
   * @throws {ClusterError} they do, the certificate is due, and there is time
   */
  async renew(options: { force?: boolean }, signal: AbortSignal): Promise<RenewResult> {
    const force = options.force === true;
    try {
      return await this.#renew(force, signal);
    } catch (err) {
      signal.throwIfAborted();
      if (!(err instanceof ClusterError)) throw err;
      return this.#locked(signal, (limit) => this.#renewAlone(err, force, limit));
    }
  }

  async #renew(force: boolean, signal: AbortSignal): Promise<RenewResult> {
    return this.#attempt(signal, async (limit) => {
      const { log } = this.options;
      await this.dir.tidy();
      const credentials = await this.#credentials();
      const cas = await this.#openAccounts(credentials, limit);
      if (this.options.setCaa) await this.#applyCaa(credentials, limit);
      let live = await this.#liveIfUsable();
      log.info({}, "checking if certificate needs to be renewed");
      const decision = live && (await decideRenewal(this.#parts, live, cas, limit));
      const due = force || decision === undefined || decision.due;
      if (due) {
        const why = force ? "forced" : (decision?.because ?? "there is none for these names");
        log.info({ names: this.options.names, why }, "requesting a new certificate");
        live = await obtainFromFirst(this.#parts, cas, live, limit);
      }
      if (live === undefined) throw new Error("no certificate after getting one");
      await this.#runHook(live, limit);
      await updateState(this.dir.statePath, (state) => ({ ...state, lastFailure: undefined }));
      const nextAt = (await decideRenewal(this.#parts, live, [], limit)).at;
      if (!due)
        log.info({ path: this.dir.liveCertPath, nextAt: new Date(nextAt) }, "certificate is up to date");
      return { renewed: due, live, nextAt };
    });
  }

  async #renewAlone(reason: ClusterError, force: boolean, limit: AbortSignal): Promise<RenewResult> {
    const before = await this.#liveIfUsable();
    if (before === undefined) throw reason;
    const credentials = await this.#credentials();
    const question = { reason, force, live: before, credentials };
    const live = await renewAlone({ ...this.options, ...this.#parts }, question, limit);
    await this.#runHook(live, limit);
    const nextAt = (await decideRenewal(this.#parts, live, [], limit)).at;
    return { renewed: live.id !== before.id, live, nextAt };
  }

  /** Orders from the staging CAs under the CAA records that production will meet (C4). Nothing is installed. */
  async rehearse(signal: AbortSignal): Promise<Rehearsal[]> {
    return this.#leading(signal, async (limit) => {
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

  get #parts(): FailoverParts {
    return { ...this.options, dir: this.dir, now: () => this.#now() };
  }

  #now(): number {
    return (this.options.now ?? Date.now)();
  }

  #locked<T>(signal: AbortSignal, work: (limit: AbortSignal) => Promise<T>): Promise<T> {
    const { attemptMs } = this.options;
    // As long as another one's attempt may take.
    return this.dir.locked(attemptMs, () => withDeadline("certbot's attempt", attemptMs, work, signal));
  }

  /** As {@link #locked}, while none of the cluster's machines does the same. */
  #leading<T>(signal: AbortSignal, work: (limit: AbortSignal) => Promise<T>): Promise<T> {
    const { cluster } = this.options;
    if (cluster === undefined) return this.#locked(signal, work);
    return cluster.lead((leading) => this.#locked(leading, work), signal);
  }

  /** As {@link #leading}; a failure is remembered for `status`. */
  #attempt<T>(signal: AbortSignal, work: (limit: AbortSignal) => Promise<T>): Promise<T> {
    return this.#leading(signal, async (limit) => {
      try {
        return await work(limit);
      } catch (err) {
        const lastFailure = { at: new Date(this.#now()).toISOString(), message: errorMessage(err) };
        // A full disk must not hide what failed first.
        if (!signal.aborted)
          await updateState(this.dir.statePath, (state) => ({ ...state, lastFailure })).catch(() => {});
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

  /** Accounts at our CAs, the same as the cluster's; told to others. */
  async #openAccounts(credentials: CredentialsFile, limit: AbortSignal): Promise<AcmeCa[]> {
    const { cas, cluster } = this.options;
    if (cluster !== undefined) refuseOtherAccounts(cluster, credentials, cas);
    const opened = await openAccounts(credentials, this.options, limit);
    await cluster?.publish(opened.map(({ directory, accountUri: uri }) => ({ directory, uri })));
    await this.#tellAccounts(credentials);
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
      const at = (await this.options.caaAt?.(name, signal)) ?? name;
      foreign.push(...(await setCaa(this.options, at, permissions, signal)));
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

  async #runHook(live: LiveCertificate, signal: AbortSignal): Promise<void> {
    const { hook, log } = this.options;
    if (hook === undefined || (await readState(this.dir.statePath)).hookDoneFor === live.id) return;
    log.info({ id: live.id }, "running the renew hook");
    await hook({ certPath: this.dir.liveCertPath, keyPath: this.dir.liveKeyPath }, signal);
    await updateState(this.dir.statePath, (state) => ({ ...state, hookDoneFor: live.id }));
  }
}
