import { type Authority, DnsError } from "@dstack/acme";

/** Where the records of a name are set. */
export type PlaceOf = (name: string, signal: AbortSignal) => Promise<string>;

/**
 * At the name itself, or, with a delegated zone, where the name leads in it: the domain's owner makes one CNAME for each
 * name once, and this ingress needs rights for that zone alone.
 */
export function places(authority: Authority, delegationZone: string | undefined): PlaceOf {
  if (delegationZone === undefined) return (name) => Promise.resolve(name);
  return async (name, signal) => {
    const within = (await authority.aliases(name, signal)).find((one) => one.endsWith(`.${delegationZone}`));
    if (within !== undefined) return within;
    const wanted = `${name} CNAME ${name.replace("*", "wildcard")}.${delegationZone}`;
    throw new DnsError(
      "refused",
      `${name} does not lead into ${delegationZone}. Make this record once: ${wanted}`,
    );
  };
}
