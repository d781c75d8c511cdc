import { Resolver } from "node:dns/promises";
import { errorCode, errorMessage } from "@dstack/core";
import { DnsError } from "../errors.js";
import { suffixes } from "../names.js";
import type { CaaRecord } from "./provider.js";

export interface AuthorityOptions {
  /** `ip` or `ip:port`, asked in place of the zones' own servers: split-horizon DNS, hidden primaries. */
  servers?: readonly string[] | undefined;
}

/** What one server says, or why it says nothing. */
export type ServerAnswer<T> = { server: string } & ({ records: T[] } | { failure: string });

const QUERY_TIMEOUT_MS = 3000;
/** More servers of a zone than this are not asked. */
const MAX_SERVERS = 13;
/** As many as resolvers commonly follow. */
const MAX_ALIASES = 8;

/**
 * Reads records where CAs read them: at the authoritative servers of the zone, each asked on its own, so that no cache
 * and no luck decides what is seen.
 */
export class Authority {
  constructor(private readonly options: AuthorityOptions = {}) {}

  txt(name: string, signal: AbortSignal): Promise<ServerAnswer<string>[]> {
    return this.#askAll(name, signal, async (resolver) =>
      (await resolver.resolveTxt(name)).map((strings) => strings.join("")),
    );
  }

  caa(name: string, signal: AbortSignal): Promise<ServerAnswer<CaaRecord>[]> {
    return this.#askAll(name, signal, async (resolver) =>
      (await resolver.resolveCaa(name)).flatMap((found) =>
        Object.entries(found).flatMap(([tag, value]): CaaRecord[] =>
          tag === "critical" ? [] : [{ type: "CAA", name, flags: found.critical, tag, value: String(value) }],
        ),
      ),
    );
  }

  /**
   * A name and, in order, those that its CNAME records lead to.
   * @throws {DnsError} `refused`: the chain is too long; `unreachable`: no server says how it goes on
   */
  async aliases(name: string, signal: AbortSignal): Promise<[string, ...string[]]> {
    const chain: [string, ...string[]] = [name];
    for (let end = name; chain.length <= MAX_ALIASES + 1; chain.push(end)) {
      const asked = end;
      const answers = await this.#askAll(asked, signal, (resolver) => resolver.resolveCname(asked));
      const heard = answers.find((answer) => "records" in answer);
      if (heard === undefined || !("records" in heard)) {
        const reasons = answers.map((answer) => ("failure" in answer ? answer.failure : "")).join(", ");
        throw new DnsError(
          "unreachable",
          `no authoritative server tells whether ${asked} is an alias: ${reasons}`,
        );
      }
      const [target] = heard.records;
      if (target === undefined) return chain;
      end = target.toLowerCase().replace(/\.$/, "");
    }
    throw new DnsError("refused", `${name} is an alias of an alias, more than ${MAX_ALIASES} times`);
  }

  async #askAll<T>(
    name: string,
    signal: AbortSignal,
    ask: (resolver: Resolver) => Promise<T[]>,
  ): Promise<ServerAnswer<T>[]> {
    const servers = this.options.servers ?? (await serversOf(name, signal));
    if (servers.length === 0)
      return [{ server: "none", failure: `no authoritative server of ${name} was found` }];
    return Promise.all(
      servers.slice(0, MAX_SERVERS).map(async (server): Promise<ServerAnswer<T>> => {
        try {
          return { server, records: await query(signal, ask, server) };
        } catch (err) {
          signal.throwIfAborted();
          return { server, failure: errorMessage(err) };
        }
      }),
    );
  }
}

/** An empty answer (no such name, no such record) is an answer. */
async function query<T>(
  signal: AbortSignal,
  ask: (resolver: Resolver) => Promise<T[]>,
  server?: string,
): Promise<T[]> {
  signal.throwIfAborted();
  const resolver = new Resolver({ timeout: QUERY_TIMEOUT_MS, tries: 2 });
  if (server !== undefined) resolver.setServers([server]);
  const cancel = (): void => resolver.cancel();
  signal.addEventListener("abort", cancel, { once: true });
  try {
    return await ask(resolver);
  } catch (err) {
    if (errorCode(err) === "ENODATA" || errorCode(err) === "ENOTFOUND") return [];
    throw err;
  } finally {
    signal.removeEventListener("abort", cancel);
  }
}

/** Addresses of the servers of the closest zone above the name, found through the system's resolver. */
async function serversOf(name: string, signal: AbortSignal): Promise<string[]> {
  for (const suffix of suffixes(name)) {
    const hosts = await query(signal, (resolver) => resolver.resolveNs(suffix)).catch(() => []);
    if (hosts.length === 0) continue;
    const addresses = await Promise.all(
      hosts.map(async (host) => {
        const v4 = await query(signal, (resolver) => resolver.resolve4(host)).catch(() => []);
        return v4.length > 0 ? v4 : query(signal, (resolver) => resolver.resolve6(host)).catch(() => []);
      }),
    );
    signal.throwIfAborted();
    // One address a server: its others are the same server.
    return addresses.flatMap(([first]) => (first === undefined ? [] : [first]));
  }
  return [];
}
