import type { Hello } from "@dstack/dashboard";
import type { Role } from "../http/tokens.js";

/** What the page is told about the teepod it talks to. */
export interface HostFacts {
  readonly version: string;
  readonly hypervisor: string;
  /** Development images run on a simulated TDX platform. */
  readonly simulated: boolean;
  readonly port_mapping: { readonly enabled: boolean; readonly ranges: readonly string[] };
  readonly limits: { readonly vcpu: number; readonly memory: number; readonly disk_size: number };
}

/** The event `hello`, which comes first. */
export interface TeepodHello extends Hello {
  readonly host: HostFacts;
  readonly you: { readonly name: string; readonly role: Role };
}
