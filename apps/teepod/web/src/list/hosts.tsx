import { State, moment } from "@dstack/dashboard/web";
import type { Mood } from "@dstack/dashboard/web";
import type { HostItem, HostState } from "../../../src/dashboard/items.js";
import { hosts, vms, vmsOf } from "../live.js";

const WORDS: { readonly [S in HostState]: readonly [string, Mood] } = {
  link: ["not asked", "plain"],
  asking: ["being asked", "plain"],
  reachable: ["reachable", "good"],
  unreachable: ["not reachable", "bad"],
  untrusted: ["not trusted", "bad"],
  refused: ["wrong token", "bad"],
  strange: ["answers strangely", "bad"],
};

function count(n: number): string {
  return `${n} ${n === 1 ? "VM" : "VMs"}`;
}

/** What there is to say about a host besides its state. */
function said({ name, state, since, detail, seen_at: seenAt }: HostItem): string {
  const known = count(vmsOf.value.get(name)?.length ?? 0);
  if (state === "link") return "teepod.toml has no token_file for it; its VMs are on its own page";
  if (detail === undefined) return state === "reachable" ? known : "";
  const shown = seenAt === undefined ? "" : `; ${known} as of ${moment(seenAt)}`;
  return `since ${moment(since)}: ${detail}${shown}`;
}

function Host({ host }: { host: HostItem }) {
  const [status, mood] = WORDS[host.state];
  return (
    <li>
      <a href={host.url} rel="noreferrer">
        {host.name}
      </a>{" "}
      <State status={status} mood={mood} /> <span class="quiet">{said(host)}</span>
    </li>
  );
}

/** The hosts whose VMs are listed, and whether they answer. */
export function Hosts() {
  if (hosts.value.length === 0) return null;
  return (
    <section aria-labelledby="hosts">
      <h2 id="hosts">Hosts</h2>
      <ul class="hosts" aria-live="polite">
        <li>
          <span>this host</span> <span class="quiet">{count(vms.value?.length ?? 0)}</span>
        </li>
        {hosts.value.map((host) => (
          <Host key={host.id} host={host} />
        ))}
      </ul>
      <p class="hint">
        VMs of other hosts are changed on their own pages, which the links lead to; each host has logins of
        its own.
      </p>
    </section>
  );
}
