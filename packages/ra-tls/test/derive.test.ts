import { readFileSync } from "node:fs";
import { hex, parseAppId, parseInstanceId, fromHex } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import {
  deriveAppKey,
  deriveDiskKey,
  deriveEnvKey,
  deriveKeyFromApp,
  firstScalar,
  x25519PublicKey,
} from "../src/derive.js";
import { p256FromScalar, p256Scalar } from "../src/p256.js";

const app = z.string().transform(parseAppId);
const instance = z.string().transform(parseInstanceId);
const bytes = z.string().transform((text) => fromHex(text));
const Vectors = z.object({
  origin: z.string(),
  app_key: z.array(z.object({ root: bytes, app_id: app, scalar: z.string(), public_point: z.string() })),
  disk_key_v1: z.array(z.object({ root: bytes, app_id: app, instance_id: instance, key: z.string() })),
  disk_key_seed: z.array(
    z.object({ root: bytes, app_id: app, instance_id: instance, rootfs_hash: z.string(), key: z.string() }),
  ),
  env_key: z.array(z.object({ root: bytes, app_id: app, secret: z.string(), public_key: z.string() })),
  tappd_derive_key: z.array(
    z.object({ app_key: bytes, path: z.string(), scalar: z.string(), public_point: z.string() }),
  ),
});
const vectors = Vectors.parse(
  JSON.parse(readFileSync(new URL("../vectors/keys.json", import.meta.url), "utf8")),
);
const root = (scalar: Uint8Array) => p256FromScalar(scalar).privateKey;

describe("K3: derivations. FROZEN: a changed byte orphans every deployed key and disk", () => {
  it("has vectors of every kind", () => {
    for (const list of [vectors.app_key, vectors.disk_key_v1, vectors.disk_key_seed, vectors.env_key]) {
      expect(list.length).toBeGreaterThanOrEqual(3);
    }
    expect(vectors.tappd_derive_key.length).toBeGreaterThanOrEqual(3);
  });

  it.each(vectors.app_key)("app key of $app_id", (v) => {
    const pair = deriveAppKey(root(v.root), v.app_id);
    expect(hex(p256Scalar(pair.privateKey))).toBe(v.scalar);
    expect(hex(pair.publicKeySpki.subarray(27))).toBe(v.public_point);
  });

  it.each(vectors.disk_key_v1)("v1 disk key of $instance_id", (v) => {
    const key = deriveDiskKey(root(v.root), { mode: "v1", appId: v.app_id, instanceId: v.instance_id });
    expect(hex(key)).toBe(v.key);
  });

  it.each(vectors.disk_key_seed)("seed disk key of $instance_id", (v) => {
    const context = { appId: v.app_id, instanceId: v.instance_id, rootfsHash: v.rootfs_hash };
    expect(hex(deriveDiskKey(root(v.root), { mode: "seed", ...context }))).toBe(v.key);
  });

  it.each(vectors.env_key)("env key of $app_id", (v) => {
    const secret = deriveEnvKey(root(v.root), v.app_id);
    expect(hex(secret)).toBe(v.secret);
    expect(hex(x25519PublicKey(secret))).toBe(v.public_key);
  });

  it.each(vectors.tappd_derive_key)("Tappd.DeriveKey of $path", (v) => {
    const pair = deriveKeyFromApp(root(v.app_key), v.path);
    expect(hex(p256Scalar(pair.privateKey))).toBe(v.scalar);
    expect(hex(pair.publicKeySpki.subarray(27))).toBe(v.public_point);
  });
});

describe("firstScalar", () => {
  const zero = new Uint8Array(32);
  const order = fromHex("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551");
  const good = Uint8Array.of(...new Uint8Array(31), 7);

  it("derives again, with a counter context, when the value is 0 or not below the order, and says so", () => {
    const answers = [zero, order, good];
    const counters: string[] = [];
    const retries: number[] = [];
    const scalar = firstScalar(
      (counter) => {
        counters.push(counter.map((part) => Buffer.from(part).toString()).join());
        return answers.shift() ?? zero;
      },
      (attempt) => retries.push(attempt),
    );
    expect(scalar).toEqual(good);
    expect(counters).toEqual(["", "counter-1", "counter-2"]);
    expect(retries).toEqual([1, 2]);
  });
});

describe("deriveDiskKey", () => {
  it("K3: refuses a rootfs hash of another length, which would shift the contexts", () => {
    const context = {
      mode: "seed",
      appId: parseAppId("aa".repeat(20)),
      instanceId: parseInstanceId("bb".repeat(20)),
    } as const;
    const key = root(Uint8Array.of(...new Uint8Array(31), 1));
    expect(() => deriveDiskKey(key, { ...context, rootfsHash: "cc".repeat(31) })).toThrow(/64 lower-case/);
  });
});
