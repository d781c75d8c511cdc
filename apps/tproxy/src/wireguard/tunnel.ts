import { Paced, Serial, sleep } from "@dstack/core";
import type { InstanceId } from "@dstack/core";
import type { Logger } from "@dstack/daemon";
import { wgConfig } from "@dstack/wireguard-tools-wrapper";
import type { PeerStatus, WireGuardDevice, WireGuardPrivateKey } from "@dstack/wireguard-tools-wrapper";
import type { Instance } from "../registry/instance.js";
import { hostCidr } from "../registry/ip-range.js";
import type { InstanceRegistry } from "../registry/registry.js";
import type { Handshakes } from "../routing/route-table.js";
import type { EndpointMemory } from "./endpoint-memory.js";

/** How often handshakes are read, of all peers at once. */
export const POLL_MS = 3_000;
/**
 * After a peer was added: where it is heard first should be written down before anything happens to the interface. Longer
 * each time that it was not heard yet.
 */
const NEWCOMER_POLL_MS = 100;
const MAX_NEWCOMER_POLL_MS = 500;
/** A peer that was not heard by then has other troubles. */
const NEWCOMER_MS = 20_000;
/** Reading thousands of peers takes its time; it is at most this part of ours. */
const MOST_OF_OUR_TIME = 0.1;
/** So is telling the interface who they are, of the interface's time more than of ours. */
const SYNC_SHARE = 0.3;

export interface TunnelServer {
  readonly privateKey: WireGuardPrivateKey;
  readonly listenPort: number;
}

/**
 * What the interface is told: each guest may use its own address and no other (G5).
 * @param endpoints by public key, for peers that cannot be heard otherwise; guests call us, so that most have none here
 */
export function tunnelConfig(
  server: TunnelServer,
  instances: readonly Instance[],
  endpoints: ReadonlyMap<string, string> = new Map(),
): string {
  return wgConfig({
    ...server,
    peers: instances.map(({ publicKey, ip }) => {
      const endpoint = endpoints.get(publicKey);
      return { publicKey, allowedIps: [hostCidr(ip)], ...(endpoint === undefined ? {} : { endpoint }) };
    }),
  });
}

/** Bytes that went through the tunnel to and from a peer, since the interface knows it. */
export interface Traffic {
  readonly received: number;
  readonly sent: number;
}

/** Keeps the interface's peers as the registry has them, and knows when each was last heard. */
export class Tunnel {
  readonly #changes = new Serial();
  readonly #syncing = new Paced(() => this.#sync(), SYNC_SHARE);
  #handshakes: Handshakes = new Map();
  #traffic: ReadonlyMap<string, Traffic> = new Map();
  readonly #routes = new Set<string>();
  #failure: Error | undefined;
  /** The interface may not have what the registry has. */
  #behind = false;
  /** Who has which address, as the interface was told last. */
  #holders: ReadonlyMap<string, InstanceId> = new Map();
  /** Peers that the interface has. */
  #known: ReadonlySet<string> = new Set();
  /** Those of them that were added lately and not heard since. */
  readonly #newcomers = new Set<string>();
  #newestAt = 0;
  /** How long to wait after the next poll, while newcomers are waited for. */
  #restMs = NEWCOMER_POLL_MS;
  /** When the next poll is due, as `performance.now()` counts. */
  #pollAt = 0;
  #rest = new AbortController();

  constructor(
    readonly device: WireGuardDevice,
    readonly server: TunnelServer,
    readonly registry: InstanceRegistry,
    readonly endpoints: EndpointMemory,
    readonly log: Logger,
  ) {}

  /** By public key; at most a few seconds old. */
  get handshakes(): Handshakes {
    return this.#handshakes;
  }

  /** By public key; as old as the handshakes are. */
  get traffic(): ReadonlyMap<string, Traffic> {
    return this.#traffic;
  }

  /**
   * Whether the interface still leads to another instance by this one's address: this node did not hear for long who came
   * and went. Nobody may be led there yet (P5).
   */
  leadsElsewhere({ instanceId, ip }: Pick<Instance, "instanceId" | "ip">): boolean {
    const holder = this.#holders.get(ip);
    return holder !== undefined && holder !== instanceId;
  }

  /** Waits for this before addresses of these instances lead to others: their connections must have ended (P5). */
  beforeHandover: (departed: readonly InstanceId[]) => Promise<void> = async () => {};

  /** Sends packets for these blocks into the tunnel. */
  async addRoutes(ranges: readonly string[]): Promise<void> {
    for (const range of ranges) {
      if (this.#routes.has(range)) continue;
      await this.device.addRoute(range);
      this.#routes.add(range);
    }
  }

  /** Gives the interface the peers of the registry. What fails here is tried again with the next poll. */
  sync(): Promise<void> {
    this.#behind = true;
    return this.#syncing.run();
  }

  #sync(): Promise<void> {
    return this.#changes.run(async () => {
      this.#behind = false;
      const instances = this.registry.list();
      try {
        await this.#tell(instances);
      } catch (err) {
        this.#behind = true;
        throw err;
      }
      this.#expect(instances);
    });
  }

  async #tell(instances: readonly Instance[], endpoints?: ReadonlyMap<string, string>): Promise<void> {
    const departed = instances.flatMap((each) => {
      const holder = this.leadsElsewhere(each) ? this.#holders.get(each.ip) : undefined;
      return holder === undefined ? [] : [holder];
    });
    if (departed.length > 0) await this.beforeHandover(departed);
    await this.device.syncconf(tunnelConfig(this.server, instances, endpoints));
    this.#holders = new Map(instances.map(({ ip, instanceId }) => [ip, instanceId]));
  }

  /** Looks at the interface soon and not only in a while: its peers may have to be told where they were. */
  #pollSoon(): void {
    this.#restMs = NEWCOMER_POLL_MS;
    const at = performance.now() + NEWCOMER_POLL_MS;
    if (at >= this.#pollAt) return;
    this.#pollAt = at;
    this.#rest.abort();
  }

  /** Notes which peers are new to the interface. */
  #expect(instances: readonly Instance[]): void {
    const added = instances.filter(({ publicKey }) => !this.#known.has(publicKey));
    this.#known = new Set(instances.map(({ publicKey }) => publicKey));
    for (const { publicKey } of added) this.#newcomers.add(publicKey);
    if (added.length === 0) return;
    this.#newestAt = performance.now();
    this.#pollSoon();
  }

  /** Reads the handshakes of all peers. */
  async poll(): Promise<void> {
    try {
      if (this.#behind) await this.sync();
      const { peers } = await this.device.dump();
      await this.#restoreEndpoints(peers);
      for (const { publicKey, endpoint } of peers)
        if (endpoint !== undefined) this.#newcomers.delete(publicKey);
      this.#handshakes = new Map(peers.map((peer) => [peer.publicKey, peer.latestHandshake ?? 0]));
      this.#traffic = new Map(
        peers.map(({ publicKey, receivedBytes: received, sentBytes: sent }) => [
          publicKey,
          { received, sent },
        ]),
      );
      this.#failure = undefined;
    } catch (err) {
      // Said once; what was known stays, and stale entries age by themselves.
      if (this.#failure === undefined) this.log.error({ err }, "reading WireGuard's handshakes failed");
      this.#failure = err instanceof Error ? err : new Error(String(err));
    }
  }

  /** An interface that was made anew, by us or by its supervisor, is told where its peers were. */
  async #restoreEndpoints(peers: readonly PeerStatus[]): Promise<void> {
    const lost = this.endpoints.lost(peers);
    if (lost.size > 0) {
      await this.#changes.run(() => this.#tell(this.registry.list(), lost));
    }
    await this.endpoints.update(peers);
  }

  /** Polls until the signal aborts, and tells after each time. */
  async run(onPolled: () => Promise<void>, signal: AbortSignal): Promise<void> {
    signal.addEventListener("abort", () => this.#rest.abort(), { once: true });
    while (!signal.aborted) {
      const began = performance.now();
      await this.poll();
      await onPolled();
      await sleep((performance.now() - began) / MOST_OF_OUR_TIME, signal).catch(() => {});
      await this.#untilNextPoll(signal);
    }
  }

  async #untilNextPoll(signal: AbortSignal): Promise<void> {
    const now = performance.now();
    if (now - this.#newestAt > NEWCOMER_MS) this.#newcomers.clear();
    this.#pollAt = now + (this.#newcomers.size === 0 ? POLL_MS : this.#restMs);
    this.#restMs = Math.min(this.#restMs * 2, MAX_NEWCOMER_POLL_MS);
    while (!signal.aborted && performance.now() < this.#pollAt) {
      this.#rest = new AbortController();
      await sleep(this.#pollAt - performance.now(), this.#rest.signal).catch(() => {});
    }
  }

  /** @throws what the last poll failed with */
  assertAlive(): void {
    if (this.#failure !== undefined)
      throw new Error("the WireGuard interface does not answer", { cause: this.#failure });
  }
}
