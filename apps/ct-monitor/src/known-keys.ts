import { certificateKeyReportData } from "@dstack/attestation";
import { InputError, errorMessage, fromHex, hex, sha256, withDeadline } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import type { PeerVerifier } from "@dstack/ra-tls";
import { z } from "zod";
import type { Dispatcher } from "undici";
import { getJson } from "./http.js";
import type { KeyGuest, MonitorState } from "./state.js";

const LIMIT_MS = 30_000;
/** For all questions to one tproxy at one look: sources are read after it, and it must not keep us from them. */
const LOOK_LIMIT_MS = 120_000;
/** Ten thousand keys of RSA 2048 in hex. */
const MAX_INFO_BYTES = 8 * 2 ** 20;
const MAX_EVIDENCE_BYTES = 1024 * 1024;
/** Bad keys of one tproxy that are told one by one at a look; it could make up thousands for each. */
const MAX_COMPLAINTS_TOLD = 20;

const hexText = z.string().regex(/^([0-9a-f]{2})+$/);
const AcmeInfo = z.object({ hist_keys: z.array(hexText.max(4096)).max(10_000) });
const Evidence = z.object({ quote: hexText, event_log: z.string() });

/** Whose word counts for a key. */
export type KeyJudge =
  | {
      readonly by: "evidence";
      readonly verifier: PeerVerifier;
      /** SHA-256 of the compose documents that are tproxy. A quote can be had by any app of any guest. */
      readonly composeHashes: readonly string[];
      /**
       * SHA-256 of the root CA certificates of the KMS. The same document in a guest with another KMS makes keys that who
       * runs that KMS can read from the guest's disk.
       */
      readonly kmsCaHashes: readonly string[];
    }
  | { readonly by: "trust" };

export interface KnownKeysOptions {
  /** Origins of the tproxies' RPC listeners, with how to reach each. */
  readonly tproxies: ReadonlyMap<string, Dispatcher | undefined>;
  readonly judge: KeyJudge;
  readonly log: Logger;
  readonly now: () => number;
  /** Keys that a tproxy tells and that have no good evidence, at the last look. */
  readonly onRefused: (url: string, count: number) => void;
  /** Of a look at one tproxy, in place of {@link LOOK_LIMIT_MS}. */
  readonly lookLimitMs?: number | undefined;
}

/**
 * The keys that certificates of the domain may be for: those its tproxies tell that they made, each verified once by its
 * evidence. A key stays known: a quote that was good is not worth less because its platform is out of date by now.
 */
export class KnownKeys {
  /** By tproxy: how many of the keys it told at the last look are known. */
  readonly #known = new Map<string, number>();
  /** By tproxy: what was told to be wrong with which key. Who makes up new ones all the time fills neither this nor the log. */
  readonly #complaints = new Map<string, ReadonlyMap<string, string>>();

  constructor(
    private readonly options: KnownKeysOptions,
    private readonly state: MonitorState,
  ) {}

  /** @param keySha256 of the SPKI, hex */
  has(keySha256: string): boolean {
    const key = this.state.keys.get(keySha256);
    const { judge } = this.options;
    if (key === undefined || judge.by === "trust") return key !== undefined;
    // The configuration of today judges what an earlier one let in.
    return key.guest !== undefined && isTproxy(judge, key.guest);
  }

  get count(): number {
    return [...this.state.keys.keys()].filter((key) => this.has(key)).length;
  }

  /** The tproxies that are asked. */
  get urls(): readonly string[] {
    return [...this.options.tproxies.keys()];
  }

  /**
   * Asks one tproxy. A key without good evidence does not keep others from being known.
   * @throws when it cannot be asked, or not to the end in time: the keys that were verified by then stay known
   */
  async refresh(url: string, signal: AbortSignal): Promise<void> {
    await withDeadline(
      `asking ${url} for its keys`,
      this.options.lookLimitMs ?? LOOK_LIMIT_MS,
      (limit) => this.#refresh(url, limit),
      signal,
    );
  }

  async #refresh(url: string, signal: AbortSignal): Promise<void> {
    const { log, onRefused } = this.options;
    const before = this.#known.get(url);
    log[before === undefined ? "info" : "debug"]({ url }, `fetching known public keys from ${url}`);
    const { hist_keys: keys } = AcmeInfo.parse(
      await this.#get(`${url}/.dstack/acme-info`, MAX_INFO_BYTES, url, signal),
    );
    const complaints = new Map<string, string>();
    let refused = 0;
    let told = 0;
    for (const key of keys) {
      const spki = fromHex(key);
      const digest = hex(sha256(spki));
      if (this.has(digest)) continue;
      try {
        const guest = await this.#judge(url, spki, digest, signal);
        const verifiedAt = new Date(this.options.now()).toISOString();
        this.state.keys.set(digest, { verifiedAt, ...(guest === undefined ? {} : { guest }) });
        log.info({ url, key_sha256: digest, guest }, "a new key of tproxy is known");
      } catch (err) {
        signal.throwIfAborted();
        const why = errorMessage(err);
        refused += 1;
        const isNew = this.#complaints.get(url)?.get(digest) !== why;
        if (isNew && ++told > MAX_COMPLAINTS_TOLD) continue;
        complaints.set(digest, why);
        if (!isNew) continue;
        log.warn(
          { url, key_sha256: digest, why },
          "a key that tproxy tells has no good evidence and does not count",
        );
      }
    }
    this.#complaints.set(url, complaints);
    onRefused(url, refused);
    const untold = told - MAX_COMPLAINTS_TOLD;
    if (untold > 0) log.warn({ url, refused }, `${untold} more keys of this tproxy have no good evidence`);
    const known = keys.length - refused;
    if (known !== before) log.info({ url, refused }, `got ${known} known public keys`);
    this.#known.set(url, known);
  }

  /** @returns the guest that proved it, with evidence */
  async #judge(
    url: string,
    spki: Uint8Array,
    digest: string,
    signal: AbortSignal,
  ): Promise<KeyGuest | undefined> {
    const { judge } = this.options;
    if (judge.by === "trust") return undefined;
    const { quote, event_log: eventLog } = Evidence.parse(
      await this.#get(`${url}/.dstack/acme-info/${digest}`, MAX_EVIDENCE_BYTES, url, signal),
    );
    const identity = await judge.verifier.verifyStatement(
      { quote: fromHex(quote), eventLog },
      certificateKeyReportData(spki),
    );
    // The app id alone would be the host's word: who may run under it is decided by the KMS, which no quote shows.
    const guest: KeyGuest = { composeHash: identity.composeHash, caCertHash: identity.caCertHash };
    if (!isTproxy(judge, guest)) {
      throw new InputError(
        `the quote is of another guest: compose document ${guest.composeHash}, KMS root ${guest.caCertHash}`,
      );
    }
    return guest;
  }

  #get(address: string, maxBytes: number, tproxy: string, signal: AbortSignal): Promise<unknown> {
    const dispatcher = this.options.tproxies.get(tproxy);
    return getJson(address, { maxBytes, limitMs: LIMIT_MS, signal, dispatcher });
  }
}

function isTproxy(judge: KeyJudge & { by: "evidence" }, { composeHash, caCertHash }: KeyGuest): boolean {
  return judge.composeHashes.includes(composeHash) && judge.kmsCaHashes.includes(caCertHash);
}
