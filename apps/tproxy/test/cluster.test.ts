import { namespacesUnavailable } from "@dstack/wireguard-tools-wrapper/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cluster } from "./cluster/cluster.js";
import type { ClusterGuest, ClusterNode } from "./cluster/cluster.js";
import { etcdUnavailable } from "../../../packages/store/test/support/etcd-server.js";
import { idOf } from "./site.js";

const reason = namespacesUnavailable() ?? etcdUnavailable();
if (reason !== undefined) console.warn(`skipping the cluster test: ${reason}`);

const SIZE = { nodes: 3, etcd: 3, guests: 8 };

/** A machine under load is slow; a fault of ours lasts. */
const SOON = { interval: 250 };

describe.skipIf(reason !== undefined)("a cluster of tproxies", () => {
  let cluster: Cluster;
  let a: ClusterNode;
  let b: ClusterNode;
  let last: number;
  beforeAll(async () => {
    cluster = await Cluster.start(SIZE);
    [a, b] = cluster.nodes as [ClusterNode, ClusterNode];
    last = cluster.nodes.length - 1;
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  const reaches = (node: ClusterNode, guest: ClusterGuest): Promise<void> =>
    expect.poll(async () => (await cluster.fetch(node, guest)).text, SOON).toBe(guest.instance);
  const allReachAll = async (nodes = cluster.nodes): Promise<void> => {
    for (const node of nodes) await Promise.all(cluster.guests.map((guest) => reaches(node, guest)));
  };
  const first = (): ClusterGuest => cluster.guests[0] as ClusterGuest;
  const lastGuest = (): ClusterGuest => cluster.guests.at(-1) as ClusterGuest;
  /** A connection that was open before is still the same one. */
  const stillOpen = async (node: ClusterNode, connection: string): Promise<void> => {
    expect(await cluster.fetch(node, first(), connection)).toMatchObject({
      text: first().instance,
      reused: true,
    });
  };
  const isSound = async (): Promise<void> => {
    const expected = Object.fromEntries(cluster.guests.map(({ instance, ip }) => [idOf(instance), ip]));
    for (const node of cluster.nodes) await expect.poll(() => cluster.list(node), SOON).toEqual(expected);
    const records = [...(await cluster.records())];
    const of = (prefix: string): [string, string][] => records.filter(([key]) => key.startsWith(prefix));
    expect(of("instances/")).toHaveLength(SIZE.guests);
    expect(
      of("keys/")
        .map(([, owner]) => owner)
        .toSorted(),
    ).toEqual(Object.keys(expected).toSorted());
    const held = of("addresses/").filter(([, value]) => value.includes("instance"));
    expect(held.map(([key]) => key.slice("addresses/".length)).toSorted()).toEqual(
      Object.values(expected).toSorted(),
    );
  };

  it("has every guest at every node, wherever it registered, with an address of that node's block", async () => {
    expect(cluster.guests.map(({ nodes }) => nodes)).toEqual(cluster.guests.map(() => SIZE.nodes));
    cluster.guests.forEach(({ instance, ip }) => {
      const block = (Number(instance.split("-")[1]) % SIZE.nodes) * 16;
      expect(ip).toMatch(new RegExp(`^10\\.77\\.${block}\\.`));
    });
    await allReachAll();
    await isSound();
    for (const node of cluster.nodes) await cluster.fetch(node, first(), `held-${node.name}`);
  });

  it("goes on without a node that dies, and has it again when it comes back", async () => {
    const dead = cluster.nodes[last] as ClusterNode;
    // In the first moment with a guest a node has not written down yet where it heard it.
    await expect.poll(() => cluster.endpoints(dead), SOON).toHaveLength(SIZE.guests);
    await cluster.killNode(last);
    await stillOpen(a, "held-node-0");
    expect((await cluster.fetch(dead, first())).text).toContain("error:");
    await allReachAll(cluster.nodes.slice(0, last));
    // Its guests register anywhere, and keep what they have.
    expect((await cluster.registerAgain(lastGuest(), a)).ip).toBe(lastGuest().ip);
    await cluster.startNode(last);
    await allReachAll([dead]);
    await stillOpen(a, "held-node-0");
    await isSound();
  });

  it("goes on when etcd loses its leader, and registers again soon", async () => {
    const leader = await cluster.etcdLeader();
    await cluster.killEtcd(leader);
    await stillOpen(a, "held-node-0");
    await allReachAll();
    await expect.poll(async () => (await cluster.registerAgain(first(), b, "new")).ip, SOON).toBe(first().ip);
    for (const node of cluster.nodes) await reaches(node, first());
    cluster.startEtcd(leader);
    await expect
      .poll(
        () =>
          cluster
            .etcdLeader()
            .then(() => true)
            .catch(() => false),
        SOON,
      )
      .toBe(true);
    await stillOpen(a, "held-node-0");
    await isSound();
  });

  it("serves what it knows when it is cut off from etcd, says so, and follows when that heals", async () => {
    await cluster.lan.partition([a.machine], cluster.etcd);
    await expect.poll(() => cluster.health(a), SOON).toContain("may be old");
    await stillOpen(a, "held-node-0");
    await allReachAll();
    expect((await cluster.registerAgain(first(), a)).error).toContain("etcd");
    // Another node takes it, with another key, which this one cannot know.
    expect((await cluster.registerAgain(first(), b, "new")).ip).toBe(first().ip);
    await reaches(b, first());
    await cluster.lan.heal();
    await expect.poll(() => cluster.health(a), SOON).toBe('{"status":"ok"}');
    await allReachAll();
    await stillOpen(a, "held-node-0");
    await isSound();
  });

  it("keeps connections, and makes new ones, while one packet of ten is lost", async () => {
    await cluster.lan.lose(10);
    for (let round = 0; round < 20; round++) await stillOpen(a, "held-node-0");
    await allReachAll();
    await expect
      .poll(async () => (await cluster.registerAgain(lastGuest(), b)).ip, SOON)
      .toBe(lastGuest().ip);
    await cluster.lan.heal();
    await stillOpen(a, "held-node-0");
    await isSound();
  });
});
