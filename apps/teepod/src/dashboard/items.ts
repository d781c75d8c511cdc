import type { VmSummary } from "./vm-summary.js";

/** A VM of this host. */
export interface VmItem extends VmSummary {
  readonly kind: "vm";
}

/**
 * `link`: it is not asked. `asking`: it has not answered yet. `unreachable`: nobody answers. `untrusted`: its
 * certificate is not the right one. `refused`: our token is not. `strange`: its answer is no list of VMs.
 */
export type HostState = "link" | "asking" | "reachable" | "unreachable" | "untrusted" | "refused" | "strange";

/** Another teepod. Nothing in it comes from its answers but their being in form. */
export interface HostItem {
  readonly kind: "host";
  readonly id: string;
  readonly name: string;
  /** Scheme, host and port, as the configuration names them. */
  readonly url: string;
  readonly state: HostState;
  /** Of the state, RFC 3339. */
  readonly since: string;
  /** What is wrong, a clause for people. */
  readonly detail?: string;
  /** When the VMs that are shown were told; where it is not reachable now. RFC 3339. */
  readonly seen_at?: string;
}

/** A VM of another host, as that host told it when it last answered. */
export interface OtherVmItem extends Pick<
  VmSummary,
  | "name"
  | "status"
  | "app_id"
  | "image"
  | "notice"
  | "started_at"
  | "exited_at"
  | "boot_progress"
  | "boot_error"
> {
  readonly kind: "other-vm";
  /** Of one VM of one host: no host names another's, or this one's. */
  readonly id: string;
  /** Name of its host. */
  readonly host: string;
  /** Its id there. */
  readonly vm_id: string;
}

export type Item = VmItem | HostItem | OtherVmItem;
