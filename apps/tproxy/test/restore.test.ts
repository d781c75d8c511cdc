import { parseAppId, parseInstanceId } from "@dstack/core";
import type { Records } from "@dstack/store";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { describe, expect, it } from "vitest";
import { newBoot } from "../src/registry/boots.js";
import {
  addressKey,
  bootKey,
  drainKey,
  freedAddress,
  heldAddress,
  instanceKey,
  ownerKey,
  writeInstance,
} from "../src/registry/records.js";
import { restoredRegistrations } from "../src/registry/restore.js";
import { idOf } from "./site.js";

const NOW = 1_800_000_000;
const APP = parseAppId(idOf("app"));
const [ONE, TWO] = [parseInstanceId(idOf("one")), parseInstanceId(idOf("two"))];
const [keyA, keyB] = [generateKeyPair().publicKey, generateKeyPair().publicKey];

type Texts = Record<string, string | undefined>;

/** All that a registration writes. */
function registered(id: typeof ONE, publicKey: typeof keyA, ip: string, at: number): Texts {
  return {
    [instanceKey(id)]: writeInstance({ appId: APP, instanceId: id, publicKey, ip, registeredAt: at }),
    [ownerKey(publicKey)]: id,
    [addressKey(ip)]: heldAddress(id),
    [bootKey(id)]: newBoot({ appId: APP, bootKey: `${at % 10}`.repeat(64) }, at),
  };
}

function records(...parts: Texts[]): Records {
  const texts = Object.entries(Object.assign({}, ...parts) as Texts);
  return new Map(
    texts.flatMap(([key, value], index) =>
      value === undefined ? [] : [[key, { value, revision: index + 1 }] as const],
    ),
  );
}

/** What the store has once all changes were made. */
function after(known: Records, there: Records): Texts {
  const changes = restoredRegistrations(known, there, NOW);
  for (const { expect: expected = {}, set } of changes) {
    for (const [key, revision] of Object.entries(expected))
      expect(there.get(key)?.revision ?? 0).toBe(revision);
    expect(Object.keys(expected).toSorted()).toEqual(Object.keys(set).toSorted());
  }
  const now: Texts = Object.fromEntries([...there].map(([key, { value }]) => [key, value]));
  for (const { set } of changes) Object.assign(now, set);
  return Object.fromEntries(Object.entries(now).filter(([, value]) => value !== undefined));
}

describe("P5: a store that lost what a node knows", () => {
  const known = registered(ONE, keyA, "10.0.0.2", NOW - 100);

  it("gets everything of an instance again, with its drain and the key of its boot (E14)", () => {
    const all = { ...known, [drainKey(ONE)]: APP, nodes: "{}" };
    expect(after(records(all), new Map())).toEqual(all);
  });

  it("gets nothing where it has the same, or newer", () => {
    expect(restoredRegistrations(records(known), records(known), NOW)).toEqual([]);
    const newer = registered(ONE, keyB, "10.0.0.9", NOW - 5);
    expect(after(records(known), records(newer))).toEqual(newer);
  });

  it("gets what is newer, in place of key, address and boot of an earlier state", () => {
    const older = registered(ONE, keyB, "10.0.0.9", NOW - 5_000);
    expect(after(records(known), records(older))).toEqual({
      ...known,
      [addressKey("10.0.0.9")]: freedAddress(NOW),
    });
  });

  it("E12: leaves key and address to who has them there; the boot comes back, so that the guest may register again", () => {
    for (const other of [
      registered(TWO, keyA, "10.0.0.9", NOW - 50),
      registered(TWO, keyB, "10.0.0.2", NOW - 50),
    ]) {
      expect(after(records(known), records(other))).toEqual({
        ...other,
        [bootKey(ONE)]: known[bootKey(ONE)],
      });
    }
  });

  it("gets addresses that nobody may have yet, and no others; and nothing that cannot be read", () => {
    const freed = (at: number) => ({ [addressKey("10.0.0.7")]: freedAddress(at) });
    expect(after(records(freed(NOW - 10)), new Map())).toEqual(freed(NOW - 10));
    expect(after(records(freed(NOW - 10_000)), new Map())).toEqual({});
    const unreadable = { [instanceKey(ONE)]: "{", [bootKey(ONE)]: "{", [addressKey("10.0.0.7")]: "{" };
    expect(after(records(unreadable), new Map())).toEqual({});
  });
});
