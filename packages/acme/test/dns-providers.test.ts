import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Cloudflare } from "../src/dns/cloudflare.js";
import type { CaaRecord, DnsProvider, TxtRecord } from "../src/dns/provider.js";
import { Rfc2136 } from "../src/dns/rfc2136.js";
import { Route53 } from "../src/dns/route53.js";
import { WebhookDns } from "../src/dns/webhook.js";
import { type CloudflareServer, startCloudflare } from "./support/cloudflare-server.js";
import { type Knot, startKnot } from "./support/knot.js";
import { type Route53Server, startRoute53 } from "./support/route53-server.js";
import { startWebhook } from "./support/webhook-server.js";
import type { TestServer } from "./support/http-server.js";

const signal = new AbortController().signal;
const name = "_acme-challenge.app.example.test";
const txt = (text: string): TxtRecord => ({ type: "TXT", name, text });
const caa = (tag: string, value: string): CaaRecord => ({
  type: "CAA",
  name: "app.example.test",
  flags: 0,
  tag,
  value,
});

/** What every provider must do, whatever it is made of. */
function contract(provider: () => DnsProvider): void {
  it("adds records of one name side by side, as apex and wildcard need them", async () => {
    const dns = provider();
    await dns.add(txt("first"), signal);
    await dns.add(txt("second"), signal);
    expect(await dns.list("TXT", name, signal)).toEqual(
      expect.arrayContaining([txt("first"), txt("second")]),
    );
  });

  it("adding a record that is there changes nothing", async () => {
    const dns = provider();
    await dns.add(txt("first"), signal);
    await dns.add(txt("first"), signal);
    const texts = (await dns.list("TXT", name, signal)).map(({ text }) => text);
    expect(texts.toSorted()).toEqual(["first", "second"]);
  });

  it("removes exactly one record, and none without an error", async () => {
    const dns = provider();
    await dns.remove(txt("first"), signal);
    await dns.remove(txt("first"), signal);
    expect(await dns.list("TXT", name, signal)).toEqual([txt("second")]);
    await dns.remove(txt("second"), signal);
    expect(await dns.list("TXT", name, signal)).toEqual([]);
  });

  it("keeps CAA values as they are: parameters, quotes, the empty issuer, flags", async () => {
    const dns = provider();
    const records = [
      caa("issue", ";"),
      caa("issuewild", "letsencrypt.org;validationmethods=dns-01;accounturi=https://ca.test/acct/1?a=b&c=d"),
      { ...caa("iodef", "mailto:security@example.test"), flags: 128 },
    ];
    for (const record of records) await dns.add(record, signal);
    const listed = await dns.list("CAA", "app.example.test", signal);
    expect(listed).toHaveLength(3);
    expect(listed).toEqual(expect.arrayContaining(records));
    await dns.remove(caa("issue", ";"), signal);
    expect(await dns.list("CAA", "app.example.test", signal)).toHaveLength(2);
  });

  it("lists nothing at a name that is not there", async () => {
    expect(await provider().list("TXT", "nothing.example.test", signal)).toEqual([]);
  });

  it("names a domain that it has no zone for", async () => {
    const work = provider().add({ type: "TXT", name: "_acme-challenge.other.invalid", text: "x" }, signal);
    await expect(work).rejects.toThrow(/other\.invalid/);
  });
}

describe("Cloudflare", () => {
  let server: CloudflareServer;
  let dns: Cloudflare;
  beforeAll(async () => {
    const zones = [
      { id: "z1", name: "test" },
      { id: "z2", name: "example.test" },
    ];
    server = await startCloudflare(zones);
    dns = new Cloudflare({ apiToken: server.token, apiUrl: server.url });
  });
  afterAll(() => server[Symbol.asyncDispose]());
  contract(() => dns);

  it("takes the zone of the longest matching suffix", async () => {
    await dns.add(txt("zone"), signal);
    expect(server.requests.at(-1)?.url.pathname).toBe("/zones/z2/dns_records");
    await dns.remove(txt("zone"), signal);
  });

  it("reads all pages", async () => {
    const texts = ["a", "b", "c", "d", "e"];
    for (const text of texts) await dns.add(txt(text), signal);
    expect((await dns.list("TXT", name, signal)).map(({ text }) => text)).toEqual(texts);
    for (const text of texts) await dns.remove(txt(text), signal);
  });

  it("waits as long as Retry-After says, and no longer than a minute", async () => {
    const limited = (seconds: string) => ({ status: 429, headers: { "retry-after": seconds }, body: "{}" });
    let refusals = 2;
    server.fault = () => (refusals-- > 0 ? limited("0") : undefined);
    await expect(dns.list("TXT", name, signal)).resolves.toEqual([]);
    server.fault = () => limited("3600");
    await expect(dns.list("TXT", name, signal)).rejects.toMatchObject({ code: "rate_limited" });
    server.fault = undefined;
  });

  it("says of a token without rights what it needs", async () => {
    const other = new Cloudflare({ apiToken: "wrong", apiUrl: server.url });
    await expect(other.add(txt("x"), signal)).rejects.toMatchObject({ code: "denied" });
    server.fault = ({ method }) => (method === "POST" ? { status: 403, body: "{}" } : undefined);
    await expect(dns.add(txt("x"), signal)).rejects.toThrow(/may edit this zone/);
    server.fault = undefined;
  });

  it("tells a refusal in Cloudflare's words", async () => {
    const low = new Cloudflare({ apiToken: server.token, apiUrl: server.url, ttl: 5 });
    await expect(low.add(txt("x"), signal)).rejects.toThrow(
      /TTL must be between 60 and 86400 seconds. \(9021\)/,
    );
  });

  it("makes a name an alias, changes one that leads elsewhere, and leaves addresses of others alone", async () => {
    const aliases = () => server.rows.filter(({ name: at }) => at === "www.example.test");
    expect(await dns.setAlias("www.example.test", "gateway.test", signal)).toBe(true);
    expect(await dns.setAlias("www.example.test", "gateway.test", signal)).toBe(false);
    expect(await dns.setAlias("www.example.test", "other.test", signal)).toBe(true);
    expect(aliases()).toMatchObject([{ type: "CNAME", content: "other.test", proxied: false }]);
    const [row] = aliases();
    if (row !== undefined) row.proxied = true;
    expect(await dns.setAlias("www.example.test", "other.test", signal), "TLS must not end there").toBe(true);
    expect(aliases()).toMatchObject([{ proxied: false }]);

    server.rows.push({ id: "1", type: "A", name: "host.example.test", content: "192.0.2.1", ttl: 60 });
    await expect(dns.setAlias("host.example.test", "gateway.test", signal)).rejects.toThrow(
      /its A record 192\.0\.2\.1 is in the way/,
    );
  });

  it("tells an answer that is none, and a server that is not there", async () => {
    server.fault = () => ({ body: "<html>" });
    await expect(dns.list("TXT", name, signal)).rejects.toThrow(/check the API URL/);
    server.fault = () => "hang up";
    await expect(dns.list("TXT", name, signal)).rejects.toMatchObject({ code: "unreachable" });
    server.fault = undefined;
  });
});

describe("RFC 2136 on Knot", () => {
  let knot: Knot;
  beforeAll(async () => {
    knot = await startKnot();
  });
  afterAll(() => knot[Symbol.asyncDispose]());
  contract(() => new Rfc2136({ host: "127.0.0.1", port: knot.port, key: knot.key }));

  it("says which part of the key is wrong", async () => {
    const server = { host: "127.0.0.1", port: knot.port, zone: "example.test" };
    const badSecret = new Rfc2136({ ...server, key: { ...knot.key, secret: Buffer.alloc(32) } });
    await expect(badSecret.add(txt("x"), signal)).rejects.toThrow(/secret .*BADSIG/);
    const badName = new Rfc2136({ ...server, key: { ...knot.key, name: "other" } });
    await expect(badName.add(txt("x"), signal)).rejects.toThrow(/name and algorithm \(BADKEY\)/);
  });

  it("ends when it is told to", async () => {
    const dns = new Rfc2136({ host: "127.0.0.1", port: knot.port, key: knot.key });
    const reason = new Error("stopped");
    await expect(dns.list("TXT", name, AbortSignal.abort(reason))).rejects.toBe(reason);
  });
});

describe("Route 53", () => {
  let server: Route53Server;
  let dns: Route53;
  beforeAll(async () => {
    const zones = [
      { id: "ZP", name: "app.example.test", isPrivate: true },
      { id: "Z1", name: "test" },
      { id: "Z2", name: "example.test" },
    ];
    server = await startRoute53(zones);
    dns = new Route53({ ...server.credentials, apiUrl: server.url });
  });
  afterAll(() => server[Symbol.asyncDispose]());
  contract(() => dns);

  it("keeps what somebody else added between reading and writing", async () => {
    await dns.add(txt("mine"), signal);
    let done = false;
    server.fault = ({ method }) => {
      if (method === "POST" && !done) {
        done = true;
        server.sets.find((set) => set.type === "TXT")?.values.push('"theirs"');
      }
      return undefined;
    };
    await dns.add(txt("mine too"), signal);
    server.fault = undefined;
    const texts = (await dns.list("TXT", name, signal)).map(({ text }) => text);
    expect(texts.toSorted()).toEqual(["mine", "mine too", "theirs"]);
  });

  it("refuses wrong credentials with a sentence", async () => {
    const other = new Route53({ accessKeyId: "AKIDTEST", secretAccessKey: "wrong", apiUrl: server.url });
    await expect(other.list("TXT", name, signal)).rejects.toThrow(/does not accept the credentials/);
  });
});

describe("webhook", () => {
  let server: TestServer;
  beforeAll(async () => {
    server = await startWebhook("secret");
    server.fault = ({ body }) =>
      body.includes("other.invalid") ? { status: 422, body: "no such zone" } : undefined;
  });
  afterAll(() => server[Symbol.asyncDispose]());
  contract(() => new WebhookDns({ url: server.url, secret: "secret" }));

  it("is refused with another secret", async () => {
    const other = new WebhookDns({ url: server.url, secret: "wrong" });
    await expect(other.add(txt("x"), signal)).rejects.toMatchObject({ code: "denied" });
  });
});
