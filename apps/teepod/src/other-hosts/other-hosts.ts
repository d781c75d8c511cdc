import { setMaxListeners } from "node:events";
import { readFile } from "node:fs/promises";
import { InputError } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import type { Agent } from "undici";
import type { Clock } from "../clock.js";
import type { OtherHostConfig } from "../config.js";
import type { HostItem, HostState, OtherVmItem } from "../dashboard/items.js";
import { agentOf, askHost } from "./ask-host.js";
import type { HostAnswer, OtherHost } from "./ask-host.js";

/** How often a host is asked while somebody looks at its VMs, and while nobody does. */
const EVERY_MS = 3_000;
const UNWATCHED_EVERY_MS = 60_000;
/** Whoever looks does so every second. */
const LOOKED_WITHIN_MS = 5_000;

async function otherHost({
  name,
  url,
  token_file: tokenFile,
  ca_file: caFile,
}: OtherHostConfig): Promise<OtherHost> {
  const token = tokenFile === undefined ? undefined : (await readFile(tokenFile, "utf8")).trim();
  if (token !== undefined && !/^[\x21-\x7e]{16,4096}$/.test(token))
    throw new InputError(`${tokenFile} has no token in it, which other_hosts names for ${name}`);
  return { name, url, token, ca: caFile === undefined ? undefined : await readFile(caFile, "utf8") };
}

/** What is known of one host. */
class KnownHost {
  #state: HostState;
  #since: Date;
  #detail: string | undefined;
  #seenAt: Date | undefined;
  #vms: readonly OtherVmItem[] = [];

  constructor(
    readonly host: OtherHost,
    now: Date,
  ) {
    this.#state = host.token === undefined ? "link" : "asking";
    this.#since = now;
  }

  /** @returns whether its state is another one now */
  take(answer: HostAnswer, now: Date): boolean {
    const changed = answer.state !== this.#state;
    if (changed) this.#since = now;
    this.#state = answer.state;
    this.#detail = "detail" in answer ? answer.detail : undefined;
    if (answer.state === "reachable") {
      this.#vms = answer.vms;
      this.#seenAt = now;
    } else if (answer.state === "refused") {
      // That host does not, or no longer, show us what runs there.
      this.#vms = [];
    }
    return changed;
  }

  items(): readonly (HostItem | OtherVmItem)[] {
    const { name, url } = this.host;
    const old = this.#state !== "reachable" && this.#vms.length > 0;
    const item: HostItem = {
      kind: "host",
      id: name,
      name,
      url: url.origin,
      state: this.#state,
      since: this.#since.toISOString(),
      ...(this.#detail !== undefined && { detail: this.#detail }),
      ...(old && this.#seenAt !== undefined && { seen_at: this.#seenAt.toISOString() }),
    };
    return [item, ...this.#vms];
  }
}

/**
 * Other teepods and their VMs, for the dashboard's list: each is asked by itself, so that a slow one holds up no other.
 * What a host told last stays when it is not reachable any more.
 */
export class OtherHosts implements AsyncDisposable {
  readonly #closing = new AbortController();
  readonly #following: readonly Promise<void>[];
  #lookedAt = -Infinity;

  private constructor(
    readonly hosts: readonly KnownHost[],
    readonly clock: Clock,
    readonly log: Logger,
  ) {
    setMaxListeners(0, this.#closing.signal); // each host's question listens
    this.#following = hosts.map((known) => this.#follow(known));
  }

  /** @throws {InputError} a token file has no token in it */
  static async open(
    configs: readonly OtherHostConfig[],
    { clock, log }: { clock: Clock; log: Logger },
  ): Promise<OtherHosts> {
    const hosts = await Promise.all(configs.map(otherHost));
    return new OtherHosts(
      hosts.map((host) => new KnownHost(host, clock.now())),
      clock,
      log,
    );
  }

  /** The hosts in their order, each before its VMs. Who calls it again and again is given what is new. */
  items(): (HostItem | OtherVmItem)[] {
    this.#lookedAt = performance.now();
    return this.hosts.flatMap((known) => known.items());
  }

  async #follow(known: KnownHost): Promise<void> {
    const { host } = known;
    if (host.token === undefined) return;
    const { signal } = this.#closing;
    const agent = agentOf(host);
    try {
      for (;;) {
        await this.#ask(known, agent, signal);
        const asked = performance.now();
        do await this.clock.sleep(EVERY_MS, signal);
        while (!this.#watched && performance.now() - asked < UNWATCHED_EVERY_MS);
      }
    } catch (err) {
      if (!signal.aborted)
        this.log.error({ err, host: host.name }, "another host is no longer asked for its VMs");
    } finally {
      await agent.destroy();
    }
  }

  get #watched(): boolean {
    return performance.now() - this.#lookedAt < LOOKED_WITHIN_MS;
  }

  async #ask(known: KnownHost, agent: Agent, signal: AbortSignal): Promise<void> {
    const answer = await askHost(known.host, agent, signal);
    if (!known.take(answer, this.clock.now())) return;
    const facts = { host: known.host.name, ...("detail" in answer && { reason: answer.detail }) };
    if (answer.state === "reachable") this.log.info(facts, "another host tells its VMs");
    else this.log.warn(facts, "another host's VMs are not known");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await Promise.all(this.#following);
  }
}
