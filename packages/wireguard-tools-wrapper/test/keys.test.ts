import { createPublicKey, diffieHellman, generateKeyPairSync } from "node:crypto";
import { execFileSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import {
  generateKeyPair,
  parseInterfaceName,
  parsePrivateKey,
  parsePublicKey,
  publicKeyOf,
} from "../src/index.js";

describe("keys", () => {
  it("agrees with `wg pubkey` on the public key", () => {
    const pair = generateKeyPair();
    const expected = execFileSync("wg", ["pubkey"], {
      input: `${pair.privateKey}\n`,
      encoding: "utf8",
    }).trim();
    expect(pair.publicKey).toBe(expected);
    expect(publicKeyOf(parsePrivateKey(pair.privateKey))).toBe(expected);
  });

  it("E12: takes 44 characters of base64 for 32 bytes and nothing else", () => {
    const { publicKey } = generateKeyPair();
    expect(parsePublicKey(publicKey)).toBe(publicKey);
    for (const bad of [
      "",
      publicKey.slice(0, 43),
      `${publicKey}=`,
      `${publicKey}\n`,
      ` ${publicKey}`,
      `${publicKey}\nAllowedIPs = 0.0.0.0/0`,
      publicKey.replace(/.=$/, "B="), // base64 of 32 bytes with bits to spare
      "A".repeat(44),
      publicKey.replace(/^./, "-"),
      Buffer.alloc(31, 7).toString("base64"),
      Buffer.alloc(33, 7).toString("base64"),
    ]) {
      expect(() => parsePublicKey(bad), JSON.stringify(bad)).toThrow(/WireGuard public key must be/);
    }
  });

  it("E12: refuses points of small order, which would make the session key known to everybody", () => {
    // OpenSSL refuses to agree on the all-zero value, which is what these give with every secret.
    const agrees = (point: Buffer): boolean => {
      const der = Buffer.concat([Buffer.from("302a300506032b656e032100", "hex"), point]);
      const publicKey = createPublicKey({ key: der, format: "der", type: "spki" });
      try {
        return diffieHellman({ publicKey, privateKey: generateKeyPairSync("x25519").privateKey }).length > 0;
      } catch {
        return false;
      }
    };
    const prime = 2n ** 255n - 19n;
    const order8 = Buffer.from("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800", "hex");
    const otherOrder8 = Buffer.from(
      "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
      "hex",
    );
    const little = (value: bigint): Buffer =>
      Buffer.from(value.toString(16).padStart(64, "0"), "hex").reverse();
    const small = [0n, 1n, prime - 1n, prime, prime + 1n].map(little);
    for (const point of [...small, order8, otherOrder8]) {
      for (const highest of [0, 0x80]) {
        const encoded = Buffer.from(point);
        encoded[31] = (encoded[31] ?? 0) | highest;
        expect(agrees(encoded), encoded.toString("hex")).toBe(false);
        expect(() => parsePublicKey(encoded.toString("base64"))).toThrow(/small order/);
      }
    }
    for (const near of [2n, prime - 2n, prime + 2n].map(little)) {
      expect(agrees(near)).toBe(true);
      expect(parsePublicKey(near.toString("base64"))).toBe(near.toString("base64"));
    }
  });
});

describe("interface names", () => {
  it("takes up to 15 safe characters", () => {
    expect(parseInterfaceName("tproxy-kvin")).toBe("tproxy-kvin");
    for (const bad of ["", "-x", "a/b", "..", "a b", "a".repeat(16), "wg0\n"]) {
      expect(() => parseInterfaceName(bad), JSON.stringify(bad)).toThrow(/interface name/);
    }
  });
});
