import type { TrustAnchor } from "./anchors.js";
import { CollateralSchema, authenticateCollateral } from "./collateral.js";
import type { AuthenticCollateral, Collateral } from "./collateral.js";
import { verifyEventLog } from "./evidence.js";
import type { VerifiedEvidence } from "./evidence.js";
import { readPckChain } from "./pck-chain.js";
import type { PckChain } from "./pck-chain.js";
import { parseQuote } from "./quote.js";
import { VerdictCache, digestOf } from "./verdict-cache.js";
import { chainCollateralKeys, verifyQuoteWith } from "./verify-quote.js";
import type { CollateralKeys, VerifiedQuote } from "./verify-quote.js";

const COLLATERAL_FIELDS = CollateralSchema.keyof().options;

/** Entries of each kind that are kept by default: a chain takes about 10 KB, collateral 60. */
const DEFAULT_MAX_ENTRIES = 256;

/**
 * `verifyQuote` for who verifies many: collateral and PCK chains it has verified are remembered by the digest of their
 * bytes, until the first of their parts expires and for an hour at most. Verdicts about quotes never are. All checks are
 * those of `verifyQuote`, in the same order; every date, revocation and signature of the quote is checked each time.
 */
export class QuoteVerifier {
  readonly #anchors: readonly TrustAnchor[];
  readonly #collateral: VerdictCache<AuthenticCollateral>;
  readonly #chains: VerdictCache<PckChain>;

  /** @param options.maxEntries how many collaterals, and how many PCK chains, are remembered */
  constructor(options: { readonly anchors: readonly TrustAnchor[]; readonly maxEntries?: number }) {
    const { anchors, maxEntries = DEFAULT_MAX_ENTRIES } = options;
    this.#anchors = anchors.map((anchor) => ({ ...anchor }));
    this.#collateral = new VerdictCache(maxEntries);
    this.#chains = new VerdictCache(maxEntries);
  }

  /** How much is remembered. */
  get remembered(): { collateral: number; chains: number } {
    return { collateral: this.#collateral.size, chains: this.#chains.size };
  }

  /**
   * As `verifyQuote`, with the anchors of this verifier.
   * @param input.now integer unix seconds, by the verifier's own clock
   * @throws {QuoteError}
   */
  verifyQuote(input: {
    readonly quote: Uint8Array;
    readonly collateral: Collateral;
    readonly now: number;
  }): VerifiedQuote {
    const { collateral, now } = input;
    const collateralDigest = digestOf(COLLATERAL_FIELDS.map((field) => collateral[field]));
    const known = this.#collateral.get(collateralDigest, now);
    const authentic = known ?? authenticateCollateral(collateral, this.#anchors);
    let fresh: { digest: string; chain: PckChain } | undefined;
    const readPck = (pem: string): PckChain => {
      const digest = digestOf([pem]);
      const chain = this.#chains.get(digest, now);
      if (chain !== undefined) return chain;
      fresh = { digest, chain: readPckChain(pem, authentic.root) };
      return fresh.chain;
    };
    const verdict = verifyQuoteWith(authentic, input.quote, now, { readPck });
    // Only what led to a verified quote is kept: who has none cannot push out what others need.
    if (known === undefined) this.#collateral.put(collateralDigest, authentic, now, verdict.earliestExpiry);
    if (fresh !== undefined) this.#chains.put(fresh.digest, fresh.chain, now, verdict.earliestExpiry);
    return verdict;
  }

  /**
   * As `verifyEvidence`, with the anchors of this verifier.
   * @throws {QuoteError}
   * @throws {EvidenceError}
   */
  verifyEvidence(input: {
    readonly quote: Uint8Array;
    readonly eventLog: string;
    readonly collateral: Collateral;
    readonly now: number;
    readonly reportData: Uint8Array;
  }): VerifiedEvidence {
    return verifyEventLog(this.verifyQuote(input), input);
  }

  /**
   * As `quoteCollateralKeys`: which collateral a quote needs, whose chain must end at an anchor of this verifier.
   * @throws {QuoteError}
   */
  collateralKeys(quote: Uint8Array, now: number): CollateralKeys {
    const pem = parseQuote(quote).auth.pckChain;
    return chainCollateralKeys(this.#chains.get(digestOf([pem]), now) ?? readPckChain(pem), this.#anchors);
  }
}
