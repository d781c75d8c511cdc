import { isDeepStrictEqual } from "node:util";
import { InputError, errorMessage } from "@dstack/core";
import { ALIVE } from "@dstack/store";
import type { Store, StoreEntry } from "@dstack/store";
import { parsePublicKey } from "@dstack/wireguard-tools-wrapper";
import type { WireGuardPublicKey } from "@dstack/wireguard-tools-wrapper";
import { z } from "zod";
import { parseIpRange, rangeContains, rangesOverlap } from "./ip-range.js";

/** What a node tells the others and the guests of itself. */
export interface NodeDescription {
  readonly publicKey: WireGuardPublicKey;
  /** Its address in the tunnel. */
  readonly ip: string;
  /** `host:port` of its WireGuard. */
  readonly endpoint: string;
  /** Where guests register: `https://host:port`; absent where nobody but the operator knows. */
  readonly rpcUrl?: string | undefined;
  /** The addresses it gives to its guests, its own block among all. */
  readonly clientRange: string;
}

export interface Node extends NodeDescription {
  readonly name: string;
  /** An operator wants it to get no new connections. */
  readonly draining: boolean;
  /** An operator took it out: guests are not told of it, and only its addresses are still theirs. */
  readonly removed: boolean;
  /** Whether it keeps its lease now. */
  readonly alive: boolean;
}

/** One record for all nodes: blocks that overlap cannot be written at the same time. */
export const NODES = "nodes";

const NodesRecord = z.record(
  z.string(),
  z.strictObject({
    public_key: z.string().transform(parsePublicKey),
    ip: z.union([z.ipv4(), z.ipv6()]),
    endpoint: z.string(),
    rpc_url: z.string().optional(),
    client_range: z.string(),
    draining: z.boolean(),
    removed: z.boolean(),
  }),
);
type NodesRecord = z.infer<typeof NodesRecord>;

/** The nodes of this tproxy, in the store, and what this one is, whatever the store has of it. */
export class NodeRegistry {
  readonly #store: Store;
  readonly #own: NodeDescription;
  readonly #listeners: (() => void)[] = [];
  /** As they could be read last. */
  #nodes: NodesRecord;

  /** @throws {InputError} the store's record of the nodes cannot be read */
  constructor(store: Store, own: NodeDescription) {
    this.#store = store;
    this.#own = own;
    this.#nodes = this.#read().nodes;
    store.onChange((keys) => {
      if (!keys.has(NODES)) return;
      try {
        this.#nodes = this.#read().nodes;
      } catch {
        // Some other program's, or a newer version's: what we knew stays. Whoever writes is told.
      }
      for (const listener of this.#listeners) listener();
    });
  }

  /** Calls back after a node has come, changed or gone. */
  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** All nodes, by name: this one, and removed ones, are among them. */
  list(): Node[] {
    return Object.entries({ ...this.#nodes, [this.#store.node]: this.#ownRecord(this.#nodes) })
      .map(([name, node]) => ({
        name,
        publicKey: node.public_key,
        ip: node.ip,
        endpoint: node.endpoint,
        rpcUrl: node.rpc_url,
        clientRange: node.client_range,
        draining: node.draining,
        removed: node.removed,
        alive: this.#isAlive(name),
      }))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** This node, as it is: others may not have heard of it. */
  self(): Node {
    const { node } = this.#store;
    const record = this.#ownRecord(this.#nodes);
    return {
      name: node,
      ...this.#own,
      draining: record.draining,
      removed: false,
      alive: this.#isAlive(node),
    };
  }

  /** Whether the store has what this node is, and guests are told of it. */
  isJoined(): boolean {
    const { [this.#store.node]: record } = this.#nodes;
    return record !== undefined && isDeepStrictEqual(record, this.#ownRecord(this.#nodes));
  }

  /**
   * Writes down what this node is. It keeps an operator's wish to drain it, and is no longer removed.
   * @param alone there are no other nodes: what an earlier name of this one has left goes
   * @throws {InputError} its addresses or its key are another node's
   * @throws {StoreError}
   */
  async join(alone: boolean): Promise<void> {
    await this.#change((all) => {
      const { [this.#store.node]: _before, ...rest } = all;
      const others = alone ? {} : rest;
      checkApart(this.#store.node, this.#own, others);
      return { ...others, [this.#store.node]: this.#ownRecord(all) };
    });
  }

  #ownRecord({ [this.#store.node]: before }: NodesRecord): NodesRecord[string] {
    const { publicKey, ip, endpoint, rpcUrl, clientRange } = this.#own;
    return {
      public_key: publicKey,
      ip,
      endpoint,
      ...(rpcUrl === undefined ? {} : { rpc_url: rpcUrl }),
      client_range: clientRange,
      draining: before?.draining ?? false,
      removed: false,
    };
  }

  #isAlive(name: string): boolean {
    return this.#store.get(ALIVE + name) !== undefined;
  }

  /**
   * Has a node get no new connections, or has it get them again.
   * @returns whether there is a node of that name
   * @throws {StoreError}
   */
  async setDraining(name: string, draining: boolean): Promise<boolean> {
    return this.#update(name, (node) => ({ ...node, draining }));
  }

  /**
   * Takes a node out that does not come back. Guests of its block keep their addresses.
   * @returns whether there is a node of that name
   * @throws {InputError} it is alive
   * @throws {StoreError}
   */
  async remove(name: string): Promise<boolean> {
    if (this.#isAlive(name)) {
      throw new InputError(`node ${name} is running: stop it first`);
    }
    return this.#update(name, (node) => ({ ...node, removed: true }));
  }

  async #update(name: string, change: (node: NodesRecord[string]) => NodesRecord[string]): Promise<boolean> {
    if (this.#read().nodes[name] === undefined) return false;
    await this.#change((all) => {
      const node = all[name];
      return node === undefined ? all : { ...all, [name]: change(node) };
    });
    return true;
  }

  async #change(change: (all: NodesRecord) => NodesRecord): Promise<void> {
    for (;;) {
      const { entry, nodes } = this.#read();
      const value = JSON.stringify(change(nodes));
      if (value === entry?.value) return;
      if (await this.#store.commit({ expect: { [NODES]: entry?.revision ?? 0 }, set: { [NODES]: value } }))
        return;
    }
  }

  #read(): { entry: StoreEntry | undefined; nodes: NodesRecord } {
    const entry = this.#store.get(NODES);
    try {
      return { entry, nodes: entry === undefined ? {} : NodesRecord.parse(JSON.parse(entry.value)) };
    } catch (err) {
      throw new InputError(`record ${NODES} of the store: ${errorMessage(err)}`, { cause: err });
    }
  }
}

/** Whether an address is in the block of one of the nodes. */
export function isInABlock(nodes: readonly NodeDescription[], ip: string): boolean {
  return nodes.some(({ clientRange }) => rangeContains(parseIpRange(clientRange), ip));
}

function checkApart(name: string, self: NodeDescription, others: NodesRecord): void {
  const range = parseIpRange(self.clientRange);
  for (const [other, node] of Object.entries(others)) {
    const otherRange = parseIpRange(node.client_range);
    if (range.family !== otherRange.family && !node.removed) {
      throw new InputError(
        `node ${name} has an IPv${range.family} block in the tunnel, ${self.clientRange}, and node ${other} an ` +
          `IPv${otherRange.family} one, ${node.client_range}: guests of the one could not be reached from the other. Give ` +
          `wg.ip and wg.client_ip_range of all nodes one family, or remove node ${other} (dstack proxy) first`,
      );
    }
    if (rangesOverlap(range, otherRange)) {
      throw new InputError(
        `wg.client_ip_range ${self.clientRange} of node ${name} overlaps ${node.client_range} of node ${other}`,
      );
    }
    if (rangeContains(otherRange, self.ip) || rangeContains(range, node.ip) || self.ip === node.ip) {
      throw new InputError(`the addresses of node ${name} and node ${other} are in each other's way`);
    }
    if (self.publicKey === node.public_key && !node.removed) {
      throw new InputError(`node ${name} has the WireGuard key of node ${other}; every node needs its own`);
    }
  }
}
