import { setTimeout as delay } from "node:timers/promises";
import { idOf } from "../site.js";
import { Cluster } from "./cluster.js";
import type { ClusterGuest } from "./cluster.js";

export interface KillLoopResult {
  /** Requests that were answered, and registrations that were acknowledged, while tproxy was killed again and again. */
  readonly answered: number;
  readonly registered: number;
  /**
   * Milliseconds from starting the process until every guest answered through it, in order, less what it had to wait for a
   * processor that others had.
   */
  readonly untilReached: readonly number[];
  /** The same where the interface, and with it every session, was killed too. */
  readonly untilReachedAnew: readonly number[];
  /** What was acknowledged and then not there, or not alone at its address. */
  readonly lost: readonly string[];
}

const GUESTS = 3;
/** Connections that are made one after the other, side by side. */
const LOAD = 4;
/** Longer than this after a start, a guest counts as lost. */
const LOST_MS = 120_000;

/**
 * Kills tproxy with SIGKILL under load and starts it again, for so many seconds and at least three times. Every third time
 * the tunnel's interface dies with it, as when the machine loses power.
 */
export async function runKillLoop(seconds: number): Promise<KillLoopResult> {
  await using cluster = await Cluster.start({ nodes: 1, etcd: 0, guests: GUESTS });
  const [node] = cluster.nodes;
  if (node === undefined) throw new Error("no node");
  const lost: string[] = [];
  const [untilReached, untilReachedAnew]: [number[], number[]] = [[], []];
  let [answered, registered, over] = [0, 0, false];

  const load = async (n: number): Promise<void> => {
    while (!over) {
      const guest = cluster.guests[n % GUESTS] as ClusterGuest;
      if ((await cluster.fetch(node, guest)).text === guest.instance) answered += 1;
      else await delay(20);
    }
  };
  /** Instance id and address of everything that was acknowledged. */
  const acknowledged = new Map(cluster.guests.map(({ instance, ip }) => [idOf(instance), ip]));
  const registrations = async (): Promise<void> => {
    for (let n = 0; !over; n++) {
      const { ip } = await cluster.registerAgain(cluster.guests[0] as ClusterGuest, node, `other-${n}`);
      if (ip === undefined) continue;
      registered += 1;
      acknowledged.set(idOf(`other-${n}`), ip);
      await delay(100);
    }
  };
  const reached = async (guest: ClusterGuest, began: number): Promise<void> => {
    while ((await cluster.fetch(node, guest)).text !== guest.instance) {
      if (performance.now() - began > LOST_MS) {
        lost.push(`${guest.instance} was not reached`);
        return;
      }
      await delay(20);
    }
  };

  const working = [registrations(), ...Array.from({ length: LOAD }, (_, n) => load(n))];
  const end = performance.now() + seconds * 1000;
  for (let kill = 1; kill <= 3 || performance.now() < end; kill++) {
    await delay(200 + Math.random() * 1_300);
    const whole = kill % 3 === 0;
    await (whole ? cluster.killNode(0) : cluster.killTproxy(0));
    const began = performance.now();
    await cluster.startNode(0);
    await Promise.all(cluster.guests.map((guest) => reached(guest, began)));
    const took = performance.now() - began - (await cluster.waitedForProcessor(0));
    (whole ? untilReachedAnew : untilReached).push(Math.round(took));
    const before = [...acknowledged];
    const known = await cluster.list(node);
    for (const [id, ip] of before) {
      if (known[id] !== ip) lost.push(`${id} was given ${ip}, and is registered with ${known[id]}`);
    }
    const twice = Object.keys(known).length - new Set(Object.values(known)).size;
    if (twice > 0) lost.push(`${twice} addresses were given twice`);
    if (lost.length > 0) break;
  }
  over = true;
  await Promise.all(working);
  return { answered, registered, untilReached, untilReachedAnew, lost };
}
