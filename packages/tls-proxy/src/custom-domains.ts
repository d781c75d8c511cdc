import { CountLimit } from "@dstack/core";
import type { CustomDestination } from "./data-plane.js";
import { MAX_NAME_LENGTH } from "./server-name.js";
import type { ServerName } from "./server-name.js";

/** The question itself; a TXT record comes as its strings. `node:dns/promises` has it. */
export type ResolveTxt = (name: string) => Promise<readonly (readonly string[])[]>;

export interface CustomDomainOptions {
  readonly resolveTxt: ResolveTxt;
  /** Milliseconds of a clock that only goes forward. */
  readonly now?: () => number;
}

/** Where the address may stand, the first one winning. The second is what newer guides tell people to set. */
const PREFIXES = ["_tapp-address", "_dstack-app-address"];
/** After a prefix: the record stands for every name one label longer. */
const WILDCARD = "-wildcard";

/** An answer is kept this long, whatever its own time to live: Node does not tell it. */
const KEEP_FOUND_MS = 60_000;
/** A name without an address; also how soon a new record is seen. */
const KEEP_MISSING_MS = 10_000;
/** DNS itself failed. */
const KEEP_FAILED_MS = 2_000;
/** How long an address that was found may still be used when DNS cannot be asked or fails: others must not cause that. */
const KEEP_STALE_MS = 3_600_000;
/** Names remembered at once. */
const CACHE_ENTRIES = 10_000;
/** Questions to DNS one source address may cause in a window, cached answers not counted. */
const QUESTIONS_PER_SOURCE = 20;
const SOURCE_WINDOW_MS = 10_000;
/** Source addresses counted at once; beyond them new ones wait for the window to end. */
const SOURCES = 10_000;
/** Questions under way at once. A domain's owner may run a name server that never answers. */
const QUESTIONS_AT_ONCE = 500;
const QUESTIONS_AT_ONCE_PER_SOURCE = 10;

const ADDRESS = /^([0-9a-f]{40}):([1-9][0-9]{0,4})$/;

/** Reads a TXT value: `<app id or instance id>:<port>`, nothing around it. */
export function parseTxtAddress(text: string): CustomDestination | undefined {
  const [, id, port] = ADDRESS.exec(text) ?? [];
  if (id === undefined || Number(port) > 65535) return undefined;
  return { id, port: Number(port) };
}

interface Entry {
  /** Until then nobody asks again. */
  readonly until: number;
  readonly found: CustomDestination | undefined;
  /** When DNS last said so. */
  readonly foundAt: number;
}

/**
 * Finds where custom domains lead, by TXT records. Anybody may make us ask by naming a domain in a ClientHello, so
 * answers and their absence are cached, equal questions are asked once, and each source may cause only so many.
 */
export class CustomDomains {
  readonly #resolveTxt: ResolveTxt;
  readonly #now: () => number;
  readonly #cache = new Map<ServerName, Entry>();
  readonly #asked = new Map<ServerName, Promise<CustomDestination | undefined>>();
  #windowStart = 0;
  readonly #bySource = new Map<string, number>();
  readonly #waiting = new CountLimit(QUESTIONS_AT_ONCE_PER_SOURCE);

  constructor(options: CustomDomainOptions) {
    this.#resolveTxt = options.resolveTxt;
    this.#now = options.now ?? (() => performance.now());
  }

  /**
   * @param source the address of who wants to know
   * @returns undefined when there is no usable record; where DNS fails or this source has asked too much, what was
   * found within the last hour
   */
  async lookup(domain: ServerName, source: string): Promise<CustomDestination | undefined> {
    const cached = this.#cache.get(domain);
    if (cached !== undefined && this.#now() < cached.until) return cached.found;
    const asked = this.#asked.get(domain);
    if (asked !== undefined) return asked;
    const leave = this.#mayAsk(source);
    if (leave === undefined) return this.#stale(domain)?.found;
    const answer = this.#ask(domain).finally(() => {
      this.#asked.delete(domain);
      leave();
    });
    this.#asked.set(domain, answer);
    return answer;
  }

  #stale(domain: ServerName): Entry | undefined {
    const entry = this.#cache.get(domain);
    return entry !== undefined && this.#now() < entry.foundAt + KEEP_STALE_MS ? entry : undefined;
  }

  async #ask(domain: ServerName): Promise<CustomDestination | undefined> {
    let answers = await this.#askAll(PREFIXES.map((prefix) => `${prefix}.${domain}`));
    const parent = domain.slice(domain.indexOf(".") + 1);
    // A name of its own goes before a wildcard, also while we cannot know it. No top-level domain has one.
    if (parent.includes(".") && answers.every((answer) => answer === "missing")) {
      answers = await this.#askAll(PREFIXES.map((prefix) => `${prefix}${WILDCARD}.${parent}`));
    }
    const found = answers.find((answer) => typeof answer === "object");
    const now = this.#now();
    let entry: Entry;
    if (found !== undefined) entry = { until: now + KEEP_FOUND_MS, found, foundAt: now };
    else if (answers.includes("failed"))
      entry = { foundAt: -Infinity, found: undefined, ...this.#stale(domain), until: now + KEEP_FAILED_MS };
    else entry = { until: now + KEEP_MISSING_MS, found, foundAt: -Infinity };
    this.#cache.delete(domain);
    this.#cache.set(domain, entry);
    if (this.#cache.size > CACHE_ENTRIES) {
      for (const oldest of this.#cache.keys()) {
        this.#cache.delete(oldest);
        break;
      }
    }
    return entry.found;
  }

  #askAll(names: readonly string[]): Promise<(CustomDestination | "missing" | "failed")[]> {
    const askable = names.filter((name) => name.length <= MAX_NAME_LENGTH);
    return Promise.all(askable.map((name) => this.#askOne(name)));
  }

  async #askOne(name: string): Promise<CustomDestination | "missing" | "failed"> {
    let records: readonly (readonly string[])[];
    try {
      records = await this.#resolveTxt(name);
    } catch (err) {
      return isAbsence(err) ? "missing" : "failed";
    }
    // Other people's records may stand beside ours, but two addresses would leave the choice to chance.
    const addresses = records
      .map((strings) => parseTxtAddress(strings.join("")))
      .filter((a) => a !== undefined);
    return (addresses.length === 1 ? addresses[0] : undefined) ?? "missing";
  }

  /** @returns what to call when the question is answered, or undefined when this source must not cause one now */
  #mayAsk(source: string): (() => void) | undefined {
    if (this.#now() - this.#windowStart >= SOURCE_WINDOW_MS) {
      this.#windowStart = this.#now();
      this.#bySource.clear();
    }
    const count = this.#bySource.get(source) ?? 0;
    if (count >= QUESTIONS_PER_SOURCE || (count === 0 && this.#bySource.size >= SOURCES)) return undefined;
    const leave = this.#asked.size < QUESTIONS_AT_ONCE ? this.#waiting.enter(source) : undefined;
    if (leave !== undefined) this.#bySource.set(source, count + 1);
    return leave;
  }
}

function isAbsence(err: unknown): boolean {
  const code = typeof err === "object" && err !== null && "code" in err ? err.code : undefined;
  return code === "ENOTFOUND" || code === "ENODATA";
}
