import { join } from "node:path";
import { readFile } from "node:fs/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { ariCertId } from "../src/ca/renewal-info.js";
import type { CertbotOptions } from "../src/certbot.js";
import type { CaaRecord, DnsProvider } from "../src/dns/provider.js";
import { World } from "./support/world.js";

const signal = new AbortController().signal;
let world: World;
let count = 0;
let name: string;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world[Symbol.asyncDispose]());
afterEach(() => {
  world.ca.fault = undefined;
  world.ca.rewrite = undefined;
});

/** Each test has a name of its own in the zone. */
function options(changes: Pick<CertbotOptions, "cas"> | object = {}): ReturnType<World["options"]> {
  name = `app${++count}.example.test`;
  return world.options({ ...changes, names: [`*.${name}`, name] });
}
const caa = (tag: string, value: string): CaaRecord => ({ type: "CAA", name, flags: 0, tag, value });
const published = async (): Promise<string[]> =>
  (await world.dns.list("CAA", name, signal)).map(({ tag, value }) => `${tag} ${value}`).toSorted();

async function accountUri(workDir: string): Promise<string> {
  return /"uri": "([^"]+)"/.exec(await readFile(join(workDir, "credentials.json"), "utf8"))?.[1] ?? "";
}

describe("setting CAA in DNS", () => {
  it("C1: names our account, removes an old one of ours, keeps and reports what others put there", async () => {
    const given = await options();
    const others = [caa("iodef", "mailto:security@example.test"), caa("issue", "digicert.com")];
    const stale = caa("issue", "pebble.test;validationmethods=dns-01;accounturi=https://ca.test/old");
    for (const record of [...others, stale]) await world.dns.add(record, signal);
    const foreign = await (await world.certbot(given)).setCaa(signal);
    expect(foreign).toHaveLength(2);
    expect(
      given.log.lines.filter((line) => line.includes("keeping a CAA record that is not ours")),
    ).toHaveLength(2);
    const value = `pebble.test;validationmethods=dns-01;accounturi=${await accountUri(given.workDir)}`;
    expect(await published()).toEqual(
      [
        "iodef mailto:security@example.test",
        "issue digicert.com",
        `issue ${value}`,
        `issuewild ${value}`,
      ].toSorted(),
    );
  });

  it("tells accounts and CAA in a file of their own, without a key", async () => {
    const given = await options();
    await (await world.certbot(given)).init(signal);
    const text = await readFile(join(given.workDir, "acme-account.json"), "utf8");
    const uri = await accountUri(given.workDir);
    const value = `pebble.test;validationmethods=dns-01;accounturi=${uri}`;
    expect(JSON.parse(text)).toEqual({
      account_uri: uri,
      accounts: [{ ca: "pebble", uri }],
      caa: [`${name} CAA 0 issue "${value}"`, `${name} CAA 0 issuewild "${value}"`],
    });
    expect(text).not.toContain("PRIVATE KEY");
  });

  it("C1: stopped after any change, running again ends with the same records", async () => {
    const given = await options();
    await (await world.certbot(given)).init(signal);
    const end = await published();
    for (let stop = 1; stop <= 8; stop++) {
      for (const record of await world.dns.list("CAA", name, signal)) await world.dns.remove(record, signal);
      await world.dns.add(caa("issue", "pebble.test;accounturi=https://ca.test/old"), signal);
      let changes = 0;
      const real = world.dns;
      const stopping =
        (change: "add" | "remove"): DnsProvider["add"] =>
        async (record, limit) => {
          if (++changes > stop) throw new Error("killed");
          await real[change](record, limit);
        };
      const dns = Object.assign(world.dns, { add: stopping("add"), remove: stopping("remove") });
      await (await world.certbot({ ...given, dns })).setCaa(signal).catch(() => {});
      expect(await world.dns.list("CAA", name, signal)).not.toEqual([]);
      await (await world.certbot(given)).setCaa(signal);
      expect(await published()).toEqual(end);
    }
  });

  it("leaves DNS alone when all is as wanted", async () => {
    const given = await options();
    await (await world.certbot(given)).init(signal);
    const untouched = (): Promise<void> => Promise.reject(new Error("must not be called"));
    const dns = Object.assign(world.dns, { add: untouched, remove: untouched });
    await (await world.certbot({ ...given, dns })).setCaa(signal);
  });
});

describe("status", () => {
  it("tells in sentences what would block, before it does", async () => {
    const given = await options();
    const certbot = await world.certbot(given);
    const empty = await certbot.status(signal);
    expect(empty.problems).toEqual([
      "there is no certificate yet",
      expect.stringMatching(/run "certbot init"/),
    ]);
    await certbot.renew({}, signal);
    const good = await certbot.status(signal);
    expect(good).toMatchObject({ problems: [], caa: [{ name, changes: [], foreign: [] }] });
    expect(good.certificate?.names).toEqual([`*.${name}`, name]);
    for (const record of await world.dns.list("CAA", name, signal)) await world.dns.remove(record, signal);
    await world.dns.add(caa("issue", "digicert.com"), signal);
    const blocked = await certbot.status(signal);
    expect(blocked.problems).toContain(
      `CAA stops an order for ${name}: ${name}: only digicert.com may issue`,
    );
    expect(blocked.caa[0]?.changes.length).toBeGreaterThan(0);
    expect(blocked.caa[0]?.foreign).toEqual([`${name} CAA 0 issue "digicert.com"`]);
  });
});

describe("rehearse", () => {
  const withStaging = (): CertbotOptions["cas"] => [
    {
      ...world.caOptions("pebble", world.pebble.directory),
      staging: { ...world.caOptions("staging"), caaNames: ["pebble.test"] },
    },
  ];

  it("C4: orders from staging under the real CAA, installs nothing and leaves CAA as it was", async () => {
    const given = await options({ cas: withStaging() });
    const certbot = await world.certbot(given);
    await certbot.init(signal);
    const before = await published();
    let during: string[] = [];
    world.ca.rewrite = (path, answer) => {
      if (path === "POST /order-plz") void published().then((records) => (during = records));
      return answer;
    };
    expect(await certbot.rehearse(signal)).toEqual([{ ca: "pebble", ordered: true, problems: [] }]);
    expect(await published()).toEqual(before);
    expect(during).toEqual(expect.arrayContaining(before));
    expect(during).toHaveLength(4);
    expect((await certbot.status(signal)).certificate).toBeUndefined();
  });

  it("C4: finds CAA that would stop production, although staging gives a certificate", async () => {
    const given = await options({ cas: withStaging() });
    const certbot = await world.certbot(given);
    await certbot.init(signal);
    for (const record of await world.dns.list("CAA", name, signal)) await world.dns.remove(record, signal);
    await world.dns.add(caa("issue", "pebble.test;accounturi=https://ca.test/lost"), signal);
    const [result] = await certbot.rehearse(signal);
    expect(result?.problems.join()).toMatch(
      /CAA stops an order for .*only account https:\/\/ca\.test\/lost may order/,
    );
  });

  it("C4: tells why staging refuses", async () => {
    const given = await options({ cas: withStaging() });
    const certbot = await world.certbot(given);
    await certbot.init(signal);
    world.ca.fault = (path) =>
      path === "POST /order-plz" ? { status: 403, headers: {}, body: "policy" } : undefined;
    expect(await certbot.rehearse(signal)).toEqual([
      { ca: "pebble", ordered: false, problems: [expect.stringMatching(/a staging order fails: .*policy/)] },
    ]);
  });
});

describe("ACME renewal information", () => {
  it("renews when the CA asks for it, says what it replaces, and asks again no sooner than it may", async () => {
    const given = await options();
    const certbot = await world.certbot(given);
    const first = await certbot.renew({}, signal);
    let asked = 0;
    const window = { start: new Date(0).toISOString(), end: new Date(1000).toISOString() };
    const future = { start: "2999-01-01T00:00:00Z", end: "2999-02-01T00:00:00Z" };
    let suggested = future;
    world.ca.fault = (path) => {
      if (!path.startsWith("GET /ari/")) return undefined;
      asked++;
      return {
        status: 200,
        headers: { "retry-after": "21600" },
        body: JSON.stringify({ suggestedWindow: suggested }),
      };
    };
    world.ca.rewrite = (path, answer) => {
      if (path !== "GET /dir") return answer;
      const renewalInfo = world.ca.directory.replace("/dir", "/ari");
      return {
        ...answer,
        body: JSON.stringify({ ...(JSON.parse(String(answer.body)) as object), renewalInfo }),
      };
    };
    expect((await certbot.renew({}, signal)).renewed).toBe(false);
    await certbot.renew({}, signal);
    expect(asked).toBe(1);
    suggested = window;
    const later = await world.certbot({ ...given, now: () => Date.now() + 22_000_000 });
    expect((await later.renew({}, signal)).renewed).toBe(true);
    expect(given.log.lines.join("\n")).toContain("the CA asks for it");
    const [before, after] = world.ca.payloads("POST /order-plz").slice(-2);
    expect(before).not.toHaveProperty("replaces");
    expect(after).toMatchObject({ replaces: ariCertId(first.live.chainPem) });
  });
});
