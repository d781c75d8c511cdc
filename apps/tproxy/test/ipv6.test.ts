import { namespacesUnavailable } from "@dstack/wireguard-tools-wrapper/testing";
import { expect, it } from "vitest";
import { Cluster } from "./cluster/cluster.js";

const reason = namespacesUnavailable();
if (reason !== undefined) console.warn(`skipping the tunnel with IPv6: ${reason}`);

const SOON = { interval: 250 };

it.skipIf(reason !== undefined)(
  "G5: a tunnel with addresses of IPv6, /128 on both sides, carries requests, over a death of tproxy and its interface",
  async () => {
    await using cluster = await Cluster.start({ nodes: 1, etcd: 0, guests: 2, family: 6 });
    const [node] = cluster.nodes;
    if (node === undefined) throw new Error("no node");
    const allAnswer = async (): Promise<void> => {
      for (const guest of cluster.guests)
        await expect.poll(async () => (await cluster.fetch(node, guest)).text, SOON).toBe(guest.instance);
    };
    expect(cluster.guests.map(({ ip }) => ip).toSorted()).toEqual(["fd77::2", "fd77::3"]);
    await allAnswer();
    const { namespace } = node.machine;
    const show = await namespace.run("wg", "show", node.site.input.wg.interface, "allowed-ips");
    expect([...show.matchAll(/\t(.*)$/gm)].map(([, ips = ""]) => ips).toSorted()).toEqual([
      "fd77::2/128",
      "fd77::3/128",
    ]);
    // In the first moment with a guest a node has not written down yet where it heard it.
    await expect.poll(() => cluster.endpoints(node), SOON).toHaveLength(2);
    await cluster.killNode(0);
    await cluster.startNode(0);
    await allAnswer();
  },
);
