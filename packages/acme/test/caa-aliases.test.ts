import { describe, expect, it } from "vitest";
import { relevantCaa } from "../src/caa/set-caa.js";
import { Authority } from "../src/dns/authority.js";
import type { CaaRecord } from "../src/dns/provider.js";

const { signal } = new AbortController();

/** DNS whose servers follow no alias into another zone, as authoritative ones do not. */
class Zones extends Authority {
  constructor(
    private readonly records: Record<string, string>,
    private readonly links: Record<string, string> = {},
  ) {
    super();
  }
  override aliases(name: string): Promise<[string, ...string[]]> {
    const target = this.links[name];
    return Promise.resolve(target === undefined ? [name] : [name, target]);
  }
  override caa(name: string): ReturnType<Authority["caa"]> {
    const value = this.records[name];
    const found: CaaRecord[] =
      value === undefined ? [] : [{ type: "CAA", name, flags: 0, tag: "issue", value }];
    return Promise.resolve([{ server: "192.0.2.1", records: found }]);
  }
}
const valueAt = async (zones: Zones): Promise<string | undefined> =>
  (await relevantCaa(zones, "shop.example.com", signal))[0]?.value;

describe("the relevant CAA records of a name (RFC 8659 §3)", () => {
  it("are its own, before those of where it leads", async () => {
    const links = { "shop.example.com": "shop.delegated.net" };
    expect(await valueAt(new Zones({ "shop.example.com": "a", "shop.delegated.net": "b" }, links))).toBe("a");
  });

  it("of an alias are those where it leads, before those of the name above", async () => {
    const links = { "shop.example.com": "shop.delegated.net" };
    expect(await valueAt(new Zones({ "shop.delegated.net": "b", "example.com": "c" }, links))).toBe("b");
  });

  it("are those above the name, and never those above where it leads", async () => {
    const links = { "shop.example.com": "shop.delegated.net" };
    expect(await valueAt(new Zones({ "delegated.net": "b", "example.com": "c" }, links))).toBe("c");
    expect(await valueAt(new Zones({ "delegated.net": "b" }, links))).toBeUndefined();
  });
});
