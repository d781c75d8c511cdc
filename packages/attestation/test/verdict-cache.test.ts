import { sha256 } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { digestOf } from "../src/verdict-cache.js";

describe("the digest of texts, under which a verdict is kept", () => {
  it("is SHA-256 over their lengths and all their UTF-16 units", () => {
    const written = Buffer.from("1,2;abc", "utf16le");
    expect(digestOf(["a", "bc"])).toBe(Buffer.from(sha256(written)).toString("hex"));
  });

  it("E8: is another one for the same text cut elsewhere, whatever the lengths look like side by side", () => {
    const [short, long] = ["a", "a".repeat(11)];
    expect(digestOf([short, long])).not.toBe(digestOf([long, short]));
    expect(digestOf(["ab"])).not.toBe(digestOf(["a", "b"]));
    expect(digestOf(["ab", ""])).not.toBe(digestOf(["ab"]));
  });
});
