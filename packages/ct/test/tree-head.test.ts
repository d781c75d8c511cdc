import { generateKeyPairSync, sign } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { concatBytes, sha256 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { logIdOf, parseTreeHead, signedTreeHead, verifyTreeHead } from "../src/tree-head.js";

const ec = generateKeyPairSync("ec", { namedCurve: "P-256" });
const rsa = generateKeyPairSync("rsa", { modulusLength: 2048 });
const base64 = (key: KeyObject): string => key.export({ format: "der", type: "spki" }).toString("base64");

function answer(key: KeyObject, algorithm: number, changes: object = {}) {
  const head = { size: 17, timestamp: 1_763_800_000_000, root: sha256("root") };
  const signature = sign("sha256", signedTreeHead(head), key);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(signature.length);
  return {
    tree_size: head.size,
    timestamp: head.timestamp,
    sha256_root_hash: Buffer.from(head.root).toString("base64"),
    tree_head_signature: Buffer.from(concatBytes(Uint8Array.of(4, algorithm), length, signature)).toString(
      "base64",
    ),
    ...changes,
  };
}

describe("tree heads", () => {
  it("signs version, kind, time, size and root in the order of RFC 6962 §3.5", () => {
    const text = signedTreeHead({ size: 0x0102, timestamp: 0x0304, root: new Uint8Array(32).fill(9) });
    expect(Buffer.from(text).toString("hex")).toBe(`000100000000000003040000000000000102${"09".repeat(32)}`);
  });

  it.each([
    ["ECDSA", ec, 3],
    ["RSA", rsa, 1],
  ] as const)(
    "accepts what the log signed and nothing else: %s",
    (_, { privateKey, publicKey }, algorithm) => {
      const { key } = logIdOf(base64(publicKey));
      const good = answer(privateKey, algorithm);
      expect(verifyTreeHead(parseTreeHead(good), key)).toBe(true);
      const changed = [
        { tree_size: 18 },
        { timestamp: 1 },
        { sha256_root_hash: Buffer.from(sha256("other")).toString("base64") },
        { tree_head_signature: "" },
        { tree_head_signature: Buffer.from([4, algorithm, 0, 0]).toString("base64") },
        { tree_head_signature: `${good.tree_head_signature.slice(0, -8)}AAAAAAAA` },
        { tree_head_signature: answer(privateKey, 2).tree_head_signature },
        {
          tree_head_signature: Buffer.concat([
            Buffer.from(good.tree_head_signature, "base64"),
            Buffer.of(0),
          ]).toString("base64"),
        },
      ];
      for (const change of changed) {
        expect(verifyTreeHead(parseTreeHead({ ...good, ...change }), key)).toBe(false);
      }
      const stranger = generateKeyPairSync("ec", { namedCurve: "P-256" }).publicKey;
      expect(verifyTreeHead(parseTreeHead(good), logIdOf(base64(stranger)).key)).toBe(false);
    },
  );

  it.each([
    [undefined],
    [null],
    ["text"],
    [[]],
    [answer(ec.privateKey, 3, { tree_size: -1 })],
    [answer(ec.privateKey, 3, { tree_size: 1.5 })],
    [answer(ec.privateKey, 3, { tree_size: 2 ** 41 })],
    [answer(ec.privateKey, 3, { tree_size: "17" })],
    [answer(ec.privateKey, 3, { timestamp: -1 })],
    [answer(ec.privateKey, 3, { sha256_root_hash: "AA==" })],
    [answer(ec.privateKey, 3, { sha256_root_hash: 5 })],
  ])("refuses what is no tree head: %#", (value) => {
    expect(() => parseTreeHead(value)).toThrow(/tree head/);
  });

  it.each([
    "",
    "AAAA",
    generateKeyPairSync("ed25519").publicKey,
    generateKeyPairSync("ec", { namedCurve: "P-384" }).publicKey,
  ])("refuses keys that logs do not have: %#", (key) => {
    expect(() => logIdOf(typeof key === "string" ? key : base64(key))).toThrow(/public key/);
  });
});
