import { WireGuardError } from "./errors.js";
import type { InterfaceName } from "./interface-name.js";
import type { Runner } from "./runner.js";

/** What `ip -j -d` says about one interface, as far as we read it. */
export interface LinkInfo {
  /** `wireguard`, `tun`, `veth`, …; empty for a plain device. */
  readonly kind: string;
  readonly addresses: readonly string[];
}

interface IpAddressRow {
  ifname?: string;
  linkinfo?: { info_kind?: string };
  addr_info?: { local?: string; prefixlen?: number }[];
}

/** The interface of that name in our network namespace, if there is one. */
export async function readLink(run: Runner, name: InterfaceName): Promise<LinkInfo | undefined> {
  const rows = parseRows(await run("ip", ["-json", "-details", "address", "show"]));
  const row = rows.find((candidate) => candidate.ifname === name);
  if (row === undefined) return undefined;
  return {
    kind: row.linkinfo?.info_kind ?? "",
    addresses: (row.addr_info ?? []).map((a) => `${a.local ?? ""}/${a.prefixlen ?? ""}`),
  };
}

function parseRows(text: string): IpAddressRow[] {
  try {
    const rows: unknown = JSON.parse(text === "" ? "[]" : text);
    if (Array.isArray(rows))
      return rows.filter((row) => typeof row === "object" && row !== null) as IpAddressRow[];
  } catch {
    // said below
  }
  throw new WireGuardError("unexpected_output", "reading ip address show: not a JSON array");
}

/** Link-local IPv6 addresses are the kernel's own; we neither set nor remove them. */
export function staleAddresses(present: readonly string[], wanted: string): string[] {
  return present.filter((address) => address !== wanted && !address.toLowerCase().startsWith("fe80:"));
}
