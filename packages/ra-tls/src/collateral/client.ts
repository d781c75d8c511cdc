import { QuoteError, authenticateCollateral } from "@dstack/attestation";
import type { AuthenticCollateral, Collateral, CollateralKeys, TrustAnchor } from "@dstack/attestation";
import { abortable, errorMessage, withDeadline } from "@dstack/core";
import { setTimeout as delay } from "node:timers/promises";
import {
  DOCUMENT_KINDS,
  isOlder,
  joinDocuments,
  lifetimeOf,
  mapDocuments,
  markName,
  marksOf,
  requireAnswers,
  slotOf,
  splitCollateral,
} from "./documents.js";
import type { DocumentKind, Documents, Lifetime } from "./documents.js";
import type { CollateralEvent } from "./events.js";
import { CollateralService } from "./service.js";
import type { CollateralServiceOptions } from "./service.js";
import { CollateralError, collateralName } from "./source.js";
import type { CollateralSource } from "./source.js";
import { DocumentStore } from "./store.js";

export interface CollateralClientOptions extends CollateralServiceOptions {
  /** Whose collateral counts: nothing else gets into the cache. */
  readonly anchors: readonly TrustAnchor[];
  /** Keeps collateral, and how new the newest was, over a restart. Of one process. */
  readonly cacheDir?: string | undefined;
  /** Longest age of collateral, from the date it was issued, in seconds. Default {@link DEFAULT_MAX_AGE_S}. */
  readonly maxAgeS?: number | undefined;
  readonly onEvent?: ((event: CollateralEvent) => void) | undefined;
}

/**
 * Intel issues collateral daily for 30 days. Who chooses our mirror could serve a revoked platform's old collateral for
 * as long as we take it.
 */
export const DEFAULT_MAX_AGE_S = 14 * 86_400;

/** Age from which documents, though valid, are fetched again in the background: revocations come through them. */
const REFRESH_AFTER_S = 3600;
/** A failed fetch is not repeated for this long: quotes that nobody has checked yet choose what is fetched. */
const RETRY_AFTER_S = 15;
/** Longest time a service can keep us from asking again. */
const MAX_RETRY_AFTER_S = 3600;
/** Platforms whose failures and verdicts are remembered. */
const MAX_PLATFORMS = 64;
const MAX_FETCHES = 8;
const FETCH_LIMIT_MS = 45_000;
const REFRESH_CHECK_MS = 60_000;

/** A platform's collateral, verified. */
interface Entry {
  readonly keys: CollateralKeys;
  readonly documents: Documents;
  readonly collateral: Collateral;
  readonly authentic: AuthenticCollateral;
  readonly lifetime: Lifetime;
}

/**
 * Fetches collateral and keeps it, in memory and on disk, until its first part expires; refreshes it ahead (E8).
 *
 * The service and the way to it may be the attacker's: only what `authenticateCollateral` accepts, answers the question
 * and is in date takes the place of what is cached, and of each document only a newer one than was seen before, also by
 * an earlier process. What is given out is in date; `verifyQuote` checks all of it again.
 */
export class CollateralClient implements CollateralSource {
  readonly #service: CollateralService;
  readonly #store: DocumentStore;
  readonly #maxAgeS: number;
  readonly #entries = new Map<string, Entry>();
  /** Cached documents that were found unusable: told once, not verified again. */
  readonly #unusable = new Map<string, Documents>();
  readonly #fetches = new Map<string, Promise<Entry>>();
  readonly #failures = new Map<string, { from: number; until: number; error: unknown }>();
  readonly #closed = new AbortController();
  #loaded: Promise<void> | undefined;

  /** @throws {TypeError} a URL is none */
  constructor(private readonly options: CollateralClientOptions) {
    this.#service = new CollateralService(options);
    this.#store = new DocumentStore(options.cacheDir);
    this.#maxAgeS = options.maxAgeS ?? DEFAULT_MAX_AGE_S;
  }

  /**
   * Collateral for a platform. Many who ask for the same wait for one fetch; one who leaves does not end it.
   * @param now Unix seconds
   * @throws {CollateralError} none that is valid now could be had
   * @throws the signal's reason
   */
  async get(keys: CollateralKeys, now: number, signal?: AbortSignal): Promise<Collateral> {
    collateralName(keys);
    await this.#load();
    const cached = this.#current(keys, now);
    if (cached === undefined) {
      const fetched = this.#fetch(keys, now);
      return (await (signal === undefined ? fetched : abortable(fetched, signal))).collateral;
    }
    // Its failure is told by an event.
    if (isDue(cached, now)) this.#fetch(keys, now).catch(() => {});
    return cached.collateral;
  }

  /** Fetches again what is old enough of all that was asked for since the start. Failures are events. */
  async refreshDue(now: number): Promise<void> {
    const due = [...this.#entries.values()].filter((entry) => isDue(entry, now));
    for (const { keys } of due) await this.#fetch(keys, now).catch(() => {});
  }

  /**
   * Calls {@link refreshDue} every minute, so that collateral is still valid when a peer comes after a quiet month.
   * Does not keep the process alive.
   * @param clock Unix seconds
   * @returns when the signal aborts
   */
  async keepFresh(clock: () => number, signal: AbortSignal): Promise<void> {
    const stop = AbortSignal.any([signal, this.#closed.signal]);
    while (!stop.aborted) {
      await delay(REFRESH_CHECK_MS, undefined, { signal: stop, ref: false }).catch(() => {});
      if (!stop.aborted) await this.refreshDue(clock());
    }
  }

  /** Ends what is under way. */
  close(): void {
    this.#closed.abort(new CollateralError("unreachable", "fetching collateral: the client was closed"));
  }

  #load(): Promise<void> {
    this.#loaded ??= this.#store.load((error) => this.#tell({ kind: "cache_unusable", error }));
    return this.#loaded;
  }

  /** What is cached for a platform, if it may be used now. */
  #current(keys: CollateralKeys, now: number): Entry | undefined {
    const documents = this.#store.find(keys);
    if (documents === undefined) return undefined;
    const name = collateralName(keys);
    let entry = this.#entries.get(name);
    if (entry === undefined || !areSame(entry.documents, documents)) {
      if (areSame(this.#unusable.get(name), documents)) return undefined;
      try {
        entry = this.#verify(keys, documents);
        this.#requireNotOlder(entry);
      } catch (error) {
        keep(this.#unusable, name, documents);
        this.#tell({ kind: "cache_unusable", error });
        return undefined;
      }
      keep(this.#entries, name, entry);
    }
    return isInDate(entry, now) ? entry : undefined;
  }

  #fetch(keys: CollateralKeys, now: number): Promise<Entry> {
    const name = collateralName(keys);
    const running = this.#fetches.get(name);
    if (running !== undefined) return running;
    for (const failure of [this.#failures.get(name), this.#failures.get(EVERY_PLATFORM)]) {
      if (failure !== undefined && failure.from <= now && now < failure.until)
        return Promise.reject(failure.error);
    }
    if (this.#fetches.size >= MAX_FETCHES) {
      return Promise.reject(new CollateralError("busy", "fetching collateral: too many platforms at once"));
    }
    const fetching = this.#fetchAndKeep(keys, now)
      .catch((error: unknown) => {
        this.#rememberFailure(name, error, now);
        this.#tell({ kind: "fetch_failed", keys, error });
        throw error;
      })
      .finally(() => this.#fetches.delete(name));
    this.#fetches.set(name, fetching);
    return fetching;
  }

  #rememberFailure(name: string, error: unknown, now: number): void {
    const asked = error instanceof CollateralError ? error.details["retryAfterS"] : undefined;
    // A service that wants to be left alone wants it for all platforms.
    if (typeof asked === "number") {
      const until = now + Math.min(asked, MAX_RETRY_AFTER_S);
      this.#failures.set(EVERY_PLATFORM, { from: now, until, error });
    }
    keep(this.#failures, name, { from: now, until: now + RETRY_AFTER_S, error });
  }

  async #fetchAndKeep(keys: CollateralKeys, now: number): Promise<Entry> {
    const what = `fetching collateral from ${this.#service.host}`;
    const collateral = await withDeadline(
      what,
      FETCH_LIMIT_MS,
      (signal) => this.#service.fetch(keys, now, signal),
      this.#closed.signal,
    ).catch(asUnreachable);
    const entry = this.#newestOf(this.#verifyFetched(keys, splitCollateral(collateral, now), now), now);
    // Nothing below waits until both are in place: nobody sees one platform's documents half replaced.
    const marks = marksOf(entry.authentic);
    const named = DOCUMENT_KINDS.map((kind) => [markName(slotOf(kind, keys), entry.authentic), marks[kind]]);
    this.#store.put(keys, entry.documents, Object.fromEntries(named));
    keep(this.#entries, collateralName(keys), entry);
    this.#failures.delete(collateralName(keys));
    this.#tell({ kind: "fetched", keys, validUntil: entry.lifetime.until });
    await this.#store.save().catch((error: unknown) => this.#tell({ kind: "not_saved", error }));
    return entry;
  }

  /** Of what was fetched and what is cached, the newer of each document. Both are authentic by then. */
  #newestOf(fetched: Entry, now: number): Entry {
    const { keys } = fetched;
    const older = this.#olderThanSeen(fetched);
    if (older.length === 0) return fetched;
    this.#tell({ kind: "rolled_back", keys, documents: older });
    const documents = mapDocuments((kind) =>
      older.includes(kind)
        ? (this.#store.get(kind, keys) ?? fetched.documents[kind])
        : fetched.documents[kind],
    );
    const mixed = this.#verifyFetched(keys, documents, now);
    this.#requireNotOlder(mixed);
    return mixed;
  }

  #olderThanSeen({ keys, authentic }: Entry): DocumentKind[] {
    const marks = marksOf(authentic);
    return DOCUMENT_KINDS.filter((kind) =>
      isOlder(marks[kind], this.#store.seen(markName(slotOf(kind, keys), authentic))),
    );
  }

  #requireNotOlder(entry: Entry): void {
    const older = this.#olderThanSeen(entry);
    if (older.length === 0) return;
    const where = this.options.cacheDir === undefined ? "" : `, as ${this.options.cacheDir}/seen.json tells`;
    throw new CollateralError(
      "rollback",
      `collateral is older than what was seen before${where}: ${older.join(", ")}`,
    );
  }

  /** @throws {CollateralError} `malformed`, `expired` */
  #verifyFetched(keys: CollateralKeys, documents: Documents, now: number): Entry {
    const entry = this.#verify(keys, documents);
    if (isInDate(entry, now)) return entry;
    const { from, until, what } = entry.lifetime;
    const why =
      now < from
        ? `issued at ${iso(from)}, after what this machine's clock says`
        : `past the ${what}, ${iso(until)}`;
    throw new CollateralError("expired", `collateral from ${this.#service.host} is ${why}`, { now });
  }

  /** @throws {CollateralError} `malformed` */
  #verify(keys: CollateralKeys, documents: Documents): Entry {
    const collateral = joinDocuments(documents);
    let authentic: AuthenticCollateral;
    try {
      authentic = authenticateCollateral(collateral, this.options.anchors);
    } catch (err) {
      if (!(err instanceof QuoteError)) throw err;
      const message = `collateral is not genuine: ${errorMessage(err)}`;
      throw new CollateralError("malformed", message, {}, { cause: err });
    }
    requireAnswers(authentic, keys);
    return { keys, documents, collateral, authentic, lifetime: lifetimeOf(authentic, this.#maxAgeS) };
  }

  #tell(event: CollateralEvent): void {
    this.options.onEvent?.(event);
  }
}

/** The name under which a failure that concerns all platforms is remembered; no platform has it. */
const EVERY_PLATFORM = "";

function isInDate({ lifetime }: Entry, now: number): boolean {
  return lifetime.from <= now && now <= lifetime.until;
}

/** Whether the oldest document was fetched long enough ago, or, by a clock that went back, in the future. */
function isDue({ documents }: Entry, now: number): boolean {
  return DOCUMENT_KINDS.some((kind) => Math.abs(now - documents[kind].fetchedAt) >= REFRESH_AFTER_S);
}

function areSame(a: Documents | undefined, b: Documents): boolean {
  return a !== undefined && DOCUMENT_KINDS.every((kind) => a[kind] === b[kind]);
}

function keep<T>(map: Map<string, T>, name: string, value: T): void {
  map.delete(name);
  for (const oldest of map.keys()) {
    if (map.size < MAX_PLATFORMS) break;
    map.delete(oldest);
  }
  map.set(name, value);
}

function asUnreachable(err: unknown): never {
  if (err instanceof CollateralError) throw err;
  throw new CollateralError("unreachable", errorMessage(err), {}, { cause: err });
}

const iso = (seconds: number): string => new Date(seconds * 1000).toISOString();
