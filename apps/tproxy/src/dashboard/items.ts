import type { Hello } from "@dstack/dashboard";

/** The event `hello`, which comes first. */
export interface TproxyHello extends Hello {
  /** Name of the token. */
  readonly you: string;
  /** Name of the node. */
  readonly node: string;
  /** Our clock, Unix milliseconds: ages are told by it. */
  readonly time: number;
  /** Why what is registered here must not be trusted. */
  readonly warnings: readonly string[];
}

/** What this node is doing, in one item. Times are Unix milliseconds. */
export interface SiteItem {
  readonly kind: "site";
  readonly id: "site";
  readonly base_domains: readonly string[];
  /** The port under which the world reaches the proxy. */
  readonly external_port: number;
  readonly connections: number;
  /** Of several, the end of the first, and all refusals. */
  readonly certificate: { readonly not_after: number; readonly refusal?: string };
  readonly store: {
    readonly kind: "file" | "etcd";
    /** Everything written until then is known. */
    readonly as_of: number;
    readonly trouble?: string;
  };
}

export interface NodeItem {
  readonly kind: "node";
  readonly id: string;
  readonly name: string;
  readonly ip: string;
  readonly endpoint: string;
  readonly client_range: string;
  readonly alive: boolean;
  readonly draining: boolean;
  readonly removed: boolean;
  /** The node that is asked. */
  readonly self: boolean;
}

/** An instance as this node sees it. */
export interface InstanceItem {
  readonly kind: "instance";
  /** Instance id. */
  readonly id: string;
  readonly app_id: string;
  readonly draining: boolean;
  readonly connections: number;
  /** Absent where it is only drained, and not registered now. */
  readonly registered?: {
    readonly ip: string;
    /** Unix milliseconds; 0 for never. */
    readonly handshake: number;
    /** Bytes through its tunnel, in and out of the instance. */
    readonly to_instance: number;
    readonly from_instance: number;
  };
}

export type Item = SiteItem | NodeItem | InstanceItem;
