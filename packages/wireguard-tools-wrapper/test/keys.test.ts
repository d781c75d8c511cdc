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
    const one = Buffer.alloc(32);
    one[0] = 1;
    const order8 = Buffer.from("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800", "hex");
    for (const point of [Buffer.alloc(32), one, order8]) {
      expect(() => parsePublicKey(point.toString("base64"))).toThrow(/small order/);
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
