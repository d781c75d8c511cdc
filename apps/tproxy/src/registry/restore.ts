import type { Change, Records } from "@dstack/store";
import { QUARANTINE_S } from "./registry.js";
import {
  ADDRESSES,
  BOOTS,
  DRAINS,
  INSTANCES,
  addressKey,
  bootKey,
  drainKey,
  freedAddress,
  instanceKey,
  ownerKey,
  readAddress,
  readBoot,
  readInstance,
  seenKey,
} from "./records.js";
import type { InstanceFacts } from "./records.js";
import { NODES } from "./nodes.js";

/**
 * What a store that was emptied, or restored from an earlier state, is told again by a node that knew more. A guest that runs
 * cannot say it itself: with the key of its boot (E14) only a store that remembers that key lets it in. What is there and is
 * as new, and whoever has an address or a WireGuard key there (E12), goes first.
 * @param now Unix seconds
 */
export function restoredRegistrations(known: Records, there: Records, now: number): Change[] {
  const changes: Change[] = [];
  const restored = new Set<string>();
  for (const [key, { value }] of known) {
    if (!key.startsWith(INSTANCES)) continue;
    const change = quietly(() => restoredInstance(readInstance(value), known, there, now));
    if (change === undefined) continue;
    changes.push(change);
    for (const each of Object.keys(change.set)) restored.add(each);
  }
  for (const [key, { value }] of known) {
    if (restored.has(key)) continue;
    const isMissed =
      (key.startsWith(BOOTS) && (quietly(() => isNewerBoot(value, there.get(key)?.value)) ?? false)) ||
      (there.get(key) === undefined &&
        (key === NODES ||
          key.startsWith(DRAINS) ||
          (key.startsWith(ADDRESSES) && (quietly(() => isQuarantined(value, now)) ?? false))));
    if (isMissed) changes.push({ expect: { [key]: there.get(key)?.revision ?? 0 }, set: { [key]: value } });
  }
  return changes;
}

function restoredInstance(
  ours: InstanceFacts,
  known: Records,
  there: Records,
  now: number,
): Change | undefined {
  const id = ours.instanceId;
  const record = there.get(instanceKey(id));
  const theirs = record === undefined ? undefined : readInstance(record.value);
  if (theirs !== undefined && (theirs.appId !== ours.appId || theirs.registeredAt >= ours.registeredAt)) {
    return undefined;
  }
  const [owner, holder] = [there.get(ownerKey(ours.publicKey)), there.get(addressKey(ours.ip))];
  if (owner !== undefined && owner.value !== id) return undefined;
  const held = holder === undefined ? undefined : readAddress(holder.value);
  if (held !== undefined && "instance" in held && held.instance !== id) return undefined;
  const set: Record<string, string | undefined> = {};
  if (theirs !== undefined) {
    set[ownerKey(theirs.publicKey)] = undefined;
    set[addressKey(theirs.ip)] = freedAddress(now);
  }
  const kept = [
    instanceKey(id),
    ownerKey(ours.publicKey),
    addressKey(ours.ip),
    bootKey(id),
    drainKey(id),
    seenKey(id),
  ];
  for (const key of kept) {
    const value = known.get(key)?.value;
    if (value !== undefined) set[key] = value;
  }
  const expect = Object.fromEntries(Object.keys(set).map((key) => [key, there.get(key)?.revision ?? 0]));
  return { expect, set };
}

function isNewerBoot(ours: string, theirs: string | undefined): boolean {
  const own = readBoot(ours);
  if (theirs === undefined) return true;
  const other = readBoot(theirs);
  return own.app_id === other.app_id && own.at > other.at;
}

/** Whether nobody else may have the address yet (P5). */
function isQuarantined(value: string, now: number): boolean {
  const state = readAddress(value);
  return "freed_at" in state && now - state.freed_at < QUARANTINE_S;
}

/** A record that cannot be read is not ours to judge: what the store has stays. */
function quietly<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
