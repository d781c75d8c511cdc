import { X509Certificate, createPrivateKey } from "node:crypto";
import { readFile, readdir, readlink, stat } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { Client } from "acme-client";
import { Agent } from "undici";
import { callCa } from "../src/ca/transport.js";
import { CaError } from "../src/errors.js";
import { World } from "./support/world.js";

const signal = new AbortController().signal;
let world: World;
beforeAll(async () => {
  world = await World.start();
});
afterAll(() => world[Symbol.asyncDispose]());
afterEach(() => {
  world.ca.fault = undefined;
  world.ca.rewrite = undefined;
});

const challenge = "_acme-challenge.app.example.test";
const json = (path: string): Promise<unknown> =>
  readFile(path, "utf8").then((text) => JSON.parse(text) as unknown);

describe("getting a certificate from Pebble over Knot", () => {
  it("gets wildcard and apex in one certificate, with its key, and leaves no challenge in DNS", async () => {
    const options = await world.options();
    const certbot = await world.certbot(options);
    const { renewed, live } = await certbot.renew({}, signal);
    expect(renewed).toBe(true);
    expect(live.names).toEqual(["*.app.example.test", "app.example.test"]);
    const cert = await readFile(join(options.workDir, "live/cert.pem"), "utf8");
    const key = await readFile(join(options.workDir, "live/key.pem"), "utf8");
    expect(cert.match(/BEGIN CERTIFICATE/g)?.length).toBeGreaterThan(1);
    expect(new X509Certificate(cert).checkPrivateKey(createPrivateKey(key))).toBe(true);
    expect(await world.dns.list("TXT", challenge, signal)).toEqual([]);
  });

  it("is idempotent: a second run leaves the certificate, and one that is due gets another with a new key", async () => {
    const options = await world.options();
    const certbot = await world.certbot(options);
    const first = await certbot.renew({}, signal);
    const again = await certbot.renew({}, signal);
    expect(again.renewed).toBe(false);
    expect(again.live.id).toBe(first.live.id);
    const later = first.live.notAfter.getTime() - 9 * 86_400_000;
    const due = await (await world.certbot({ ...options, now: () => later })).renew({}, signal);
    expect(due.renewed).toBe(true);
    expect(due.live.spki.equals(first.live.spki)).toBe(false);
    expect(await readdir(join(options.workDir, "backup"))).toHaveLength(2);
    expect(await readlink(join(options.workDir, "live"))).toBe(`backup/${due.live.id}`);
  });

  it("a forced renewal renews what is not due", async () => {
    const options = await world.options();
    const first = await (await world.certbot(options)).renew({}, signal);
    const forced = await (await world.certbot(options)).renew({ force: true }, signal);
    expect(forced.renewed).toBe(true);
    expect(forced.live.id).not.toBe(first.live.id);
  });

  it("other names in the configuration get another certificate", async () => {
    const options = await world.options();
    await (await world.certbot(options)).renew({}, signal);
    const changed = await (
      await world.certbot({ ...options, names: ["www.example.test"] })
    ).renew({}, signal);
    expect(changed.live.names).toEqual(["www.example.test"]);
  });

  it("answers a delegated challenge where its CNAME leads, and one that leads nowhere with a sentence", async () => {
    const written: string[] = [];
    const { dns } = world;
    const add: typeof dns.add = async (record, limit) => {
      written.push(`${record.type} ${record.name}`);
      await world.dns.add(record, limit);
    };
    const options = await world.options({
      dns: Object.assign(dns, { add }),
      names: ["delegated.example.test"],
      setCaa: false,
    });
    const { live } = await (await world.certbot(options)).renew({}, signal);
    expect(live.names).toEqual(["delegated.example.test"]);
    expect(written).toEqual(["TXT delegated.challenges.example.test"]);
    expect(await dns.list("TXT", "delegated.challenges.example.test", signal)).toEqual([]);
    const loop = await world.options({ names: ["loop.example.test"], setCaa: false });
    await expect((await world.certbot(loop)).renew({}, signal)).rejects.toThrow(/alias of an alias/);
  });

  it("keeps keys and accounts for their owner only", async () => {
    const options = await world.options();
    await (await world.certbot(options)).renew({}, signal);
    const mode = async (path: string): Promise<number> =>
      (await stat(join(options.workDir, path))).mode & 0o777;
    expect(await mode("credentials.json")).toBe(0o600);
    expect(await mode("live/key.pem")).toBe(0o600);
    expect(await mode("live/cert.pem")).toBe(0o644);
    expect(await mode("live/")).toBe(0o700);
  });

  it("two certbots on one directory make one account and one certificate", async () => {
    const options = await world.options();
    const [a, b] = [await world.certbot(options), await world.certbot(options)];
    const results = await Promise.all([a.renew({}, signal), b.renew({}, signal)]);
    expect(results.filter(({ renewed }) => renewed)).toHaveLength(1);
    expect(await readdir(join(options.workDir, "backup"))).toHaveLength(1);
  });

  it("tells of a certbot that does not end, instead of waiting for ever", async () => {
    const options = await world.options({ attemptMs: 1500 });
    const slow = await world.options({ workDir: options.workDir, attemptMs: 60_000 });
    let letGo = (): void => {};
    const held = new Promise<void>((resolve) => (letGo = resolve));
    const dns = Object.assign(world.dns, { list: () => held.then(() => []) });
    const first = (await world.certbot({ ...slow, dns })).setCaa(signal).catch(() => {});
    await expect.poll(() => readdir(options.workDir)).toContain("credentials.json");
    await expect((await world.certbot(options)).renew({}, signal)).rejects.toMatchObject({ code: "locked" });
    letGo();
    await first;
  });
});

describe("the hook", () => {
  it("one that fails leaves the certificate live and is run again until it succeeds", async () => {
    let works = false;
    let runs = 0;
    const hook = async (): Promise<void> => {
      runs++;
      if (!works) throw new Error("reloading failed");
    };
    const options = await world.options({ hook });
    const certbot = await world.certbot(options);
    await expect(certbot.renew({}, signal)).rejects.toThrow("reloading failed");
    expect((await certbot.status(signal)).hookPending).toBe(true);
    works = true;
    expect((await certbot.renew({}, signal)).renewed).toBe(false);
    await certbot.renew({}, signal);
    expect(runs).toBe(2);
    expect(await certbot.status(signal)).toMatchObject({ hookPending: false, problems: [] });
  });
});

describe("trouble", () => {
  it("a challenge that never appears in DNS ends with the limit, names the servers and is tidied up", async () => {
    const dns = Object.assign(world.dns, { add: () => Promise.resolve() });
    const options = await world.options({ dns, maxDnsWaitMs: 4000, setCaa: false });
    await expect((await world.certbot(options)).renew({}, signal)).rejects.toMatchObject({
      code: "not_propagated",
      message: expect.stringContaining(world.knot.address) as string,
    });
    const waits = options.log.lines.filter((line) => line.includes("challenge not found"));
    expect(waits[0]).toContain("challenge not found, waiting 250ms");
    expect(waits[1]).toContain("challenge not found, waiting 500ms");
    const next = await world.certbot({ ...options, dns: world.dns, maxDnsWaitMs: 60_000 });
    expect((await next.renew({}, signal)).renewed).toBe(true);
  });

  it("a refused order says in the CA's words why, and the next run starts a new one", async () => {
    // What the CA sees is not what we saw: the record is gone when it looks.
    const authority = { txt: async () => [], caa: async () => [] };
    const dns = Object.assign(world.dns, { add: () => Promise.resolve() });
    const options = await world.options({ setCaa: false });
    const blind = await world.certbot({
      ...options,
      dns,
      authority: Object.assign(options.authority, authority),
    });
    await expect(blind.renew({}, signal)).rejects.toThrow(/refused the order for app\.example\.test: .*TXT/);
    const fresh = await world.options({ workDir: options.workDir });
    expect((await (await world.certbot(fresh)).renew({}, signal)).renewed).toBe(true);
  });

  it("a rate limit is kept until its time has passed, over restarts", async () => {
    const options = await world.options();
    const certbot = await world.certbot(options);
    await certbot.init(signal);
    world.ca.fault = (path) =>
      path === "POST /order-plz"
        ? {
            status: 429,
            headers: { "retry-after": "7200", "content-type": "application/problem+json" },
            body: JSON.stringify({ type: "urn:ietf:params:acme:error:rateLimited", detail: "too many" }),
          }
        : undefined;
    await expect(certbot.renew({}, signal)).rejects.toThrow(/limits our rate \(until .*\): too many/);
    world.ca.fault = undefined;
    world.ca.asked.length = 0;
    await expect((await world.certbot(options)).renew({}, signal)).rejects.toThrow(
      /must not be asked before/,
    );
    expect(world.ca.asked).not.toContain("POST /order-plz");
    expect((await certbot.status(signal)).problems.join()).toContain("must not be asked before");
    const later = await world.certbot({ ...options, now: () => Date.now() + 7_300_000 });
    expect((await later.renew({}, signal)).renewed).toBe(true);
  });

  it("a CA that goes away in the middle of an order: the order is taken up, with the same key", async () => {
    const options = await world.options();
    world.ca.fault = (path) => (path.includes("finalize") ? "hang up" : undefined);
    await expect((await world.certbot(options)).renew({}, signal)).rejects.toThrow(/cannot be reached/);
    const key = await readFile(join(options.workDir, "pending/pebble/key.pem"), "utf8");
    world.ca.fault = undefined;
    world.ca.asked.length = 0;
    await (await world.certbot(options)).renew({}, signal);
    expect(world.ca.asked).not.toContain("POST /order-plz");
    expect(await readFile(join(options.workDir, "live/key.pem"), "utf8")).toBe(key);
    expect(await readdir(join(options.workDir, "pending"))).toEqual([]);
  });

  it("a CA that fails is followed by the next one, and both are named in CAA", async () => {
    const broken = world.caOptions("first");
    const second = world.caOptions("second", world.pebble.directory);
    const options = await world.options({ cas: [broken, second], names: ["*.failover.example.test"] });
    await (await world.certbot(options)).init(signal);
    world.ca.fault = (path) =>
      path.startsWith("POST") ? { status: 503, headers: {}, body: "down" } : undefined;
    expect((await (await world.certbot(options)).renew({}, signal)).renewed).toBe(true);
    const records = await world.dns.list("CAA", "failover.example.test", signal);
    const issuers = new Set(records.map(({ value }) => value.split(";")[0]));
    expect(issuers).toEqual(new Set(["first.test", "second.test"]));
  });

  it("trouble with DNS is not taken to the next CA", async () => {
    const dns = Object.assign(world.dns, { add: () => Promise.reject(new Error("DNS is down")) });
    const cas = [world.caOptions("first"), world.caOptions("second", world.pebble.directory)];
    const options = await world.options({ cas, dns, setCaa: false });
    await expect((await world.certbot(options)).renew({}, signal)).rejects.toThrow("DNS is down");
    expect(options.log.lines.filter((line) => line.includes("creating new order"))).toHaveLength(1);
  });

  it("C2: an account the CA does not know any more is an error, not a new account", async () => {
    const options = await world.options();
    await (await world.certbot(options)).init(signal);
    const before = await json(join(options.workDir, "credentials.json"));
    world.ca.fault = (path) =>
      path === "POST /order-plz"
        ? {
            status: 400,
            headers: {},
            body: '{"type":"urn:ietf:params:acme:error:accountDoesNotExist","detail":"gone"}',
          }
        : undefined;
    await expect((await world.certbot(options)).renew({}, signal)).rejects.toThrow(
      /does not accept our account/,
    );
    expect(await json(join(options.workDir, "credentials.json"))).toEqual(before);
  });

  it("C2: an account that was deactivated at the CA is an error, not a new account", async () => {
    const options = await world.options();
    await (await world.certbot(options)).init(signal);
    const before = await readFile(join(options.workDir, "credentials.json"), "utf8");
    const [account] = (JSON.parse(before) as { accounts: { keyPem: string; uri: string }[] }).accounts;
    if (account === undefined) throw new Error("no account");
    const parts = { ca: "pebble", dispatcher: new Agent({ connect: { ca: world.pebble.rootPem } }), signal };
    const client = new Client({
      directoryUrl: world.ca.directory,
      accountKey: account.keyPem,
      accountUrl: account.uri,
    });
    await callCa({ ...parts, onDate: () => {} }, () => client.updateAccount({ status: "deactivated" }));
    await parts.dispatcher.destroy();
    await expect((await world.certbot(options)).renew({}, signal)).rejects.toThrow(
      /does not accept our account/,
    );
    expect(await readFile(join(options.workDir, "credentials.json"), "utf8")).toBe(before);
  });

  it.each([-1, 1])(
    "a clock that is off by %d day gets a certificate, and does not get one after the other",
    async (days) => {
      const options = await world.options({ now: () => Date.now() + days * 86_400_000 });
      expect((await (await world.certbot(options)).renew({}, signal)).renewed).toBe(true);
      expect((await (await world.certbot(options)).renew({}, signal)).renewed).toBe(false);
    },
  );

  it("names a clock that is wrong by a day beside the failure", async () => {
    const options = await world.options();
    const date = new Date(Date.now() - 86_400_000).toUTCString();
    world.ca.fault = (path) =>
      path.includes("finalize") ? { status: 403, headers: { date }, body: "no" } : undefined;
    await expect((await world.certbot(options)).renew({}, signal)).rejects.toThrow(
      /clock is 1440 min ahead of the CA's/,
    );
  });

  it("ends when it is told to, and the next run goes on", async () => {
    const stop = new AbortController();
    const options = await world.options();
    world.ca.rewrite = (path, answer) => {
      if (path === "POST /order-plz") stop.abort(new Error("told to stop"));
      return answer;
    };
    await expect((await world.certbot(options)).renew({}, stop.signal)).rejects.toThrow("told to stop");
    world.ca.rewrite = undefined;
    expect((await (await world.certbot(options)).renew({}, signal)).renewed).toBe(true);
  });

  it("gives its errors a code to switch on", async () => {
    const options = await world.options({ cas: [world.caOptions("nobody", "https://127.0.0.1:1/dir")] });
    const failure = await (await world.certbot(options)).renew({}, signal).catch((err: unknown) => err);
    expect(failure).toBeInstanceOf(CaError);
    expect(failure).toMatchObject({ code: "unreachable" });
  });
});
