import { describe, expect, it } from "vitest";
import { CountLimit, sourceKey } from "../src/index.js";

describe("sources", () => {
  it.each([
    ["192.0.2.7", "192.0.2.7"],
    ["::ffff:192.0.2.7", "192.0.2.7"],
    ["2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    ["2001:db8:1:2::6", "2001:db8:1:2::/64"],
    ["2001:db8::6", "2001:db8:0:0::/64"],
    ["::1", "0:0:0:0::/64"],
    ["fe80::1%eth0", "fe80:0:0:0::/64"],
  ])("P4: %s counts as %s", (address, key) => {
    expect(sourceKey(address)).toBe(key);
  });

  it("P4: counts each entry once, however often it is left", () => {
    const limit = new CountLimit(2);
    const first = limit.enter("a");
    limit.enter("a");
    expect(limit.enter("a")).toBeUndefined();
    first?.();
    first?.();
    expect(limit.counts().get("a")).toBe(1);
    expect(limit.enter("a")).toBeDefined();
    expect(limit.enter("a")).toBeUndefined();
  });
});
