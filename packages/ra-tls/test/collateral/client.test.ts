import { rm } from "node:fs/promises";
import { describe, expect, it } from "vitest";
import { tempDir } from "../temp.js";
import {
  DAY,
  HOUR,
  NOW,
  down,
  keys,
  makeClient,
  only,
  platform,
  platformWith,
  serving,
  startService,
  status,
} from "./service.js";

describe("CollateralClient", () => {
  it("fetches the nine fields exactly as they were signed, and not again while they are fresh", async () => {
    const service = await startService();
    const { client, kinds } = makeClient(service);
    expect(await client.get(keys, NOW)).toEqual(platform.collateral(NOW));
    await client.get(keys, NOW + HOUR - 1);
    await client.get({ ...keys, fmspc: keys.fmspc.toUpperCase() }, NOW);
    expect(service.requests.length).toBe(4);
    expect(kinds()).toEqual(["fetched"]);
  });

  it("lets no FMSPC choose a path", async () => {
    const { client } = makeClient(await startService());
    await expect(client.get({ ...keys, fmspc: "../../../../" }, NOW)).rejects.toMatchObject({
      code: "malformed",
    });
  });

  it("says that a platform is unknown, and does not ask again at once", async () => {
    const service = await startService();
    const { client, kinds } = makeClient(service);
    const unknown = { ...keys, fmspc: "00906ed50000" };
    await expect(client.get(unknown, NOW)).rejects.toMatchObject({
      code: "unknown_platform",
      rpcCode: "unavailable",
    });
    await expect(client.get(unknown, NOW + 14)).rejects.toMatchObject({ code: "unknown_platform" });
    expect(kinds()).toEqual(["fetch_failed"]);
    await expect(client.get(unknown, NOW + 15)).rejects.toMatchObject({ code: "unknown_platform" });
    expect(kinds()).toEqual(["fetch_failed", "fetch_failed"]);
  });
});

describe("E8: one fetch for many who ask", () => {
  it("and one who leaves does not end it for the others", async () => {
    const service = await startService();
    let open = (): void => {};
    const gate = new Promise<void>((resolve) => (open = resolve));
    service.intercept = only("/tcb", (request, response) => {
      void gate.then(() => {
        service.intercept = undefined;
        response.writeHead(503).end(); // asked again, the service answers well
      });
      return request.url !== undefined;
    });
    const { client } = makeClient(service);
    const leaving = new AbortController();
    const first = client.get(keys, NOW, leaving.signal);
    const others = [1, 2, 3].map(() => client.get(keys, NOW, new AbortController().signal));
    await expect.poll(() => service.requests.length).toBe(4);
    leaving.abort(new Error("the caller has left"));
    await expect(first).rejects.toThrow("the caller has left");
    open();
    for (const other of await Promise.all(others)) expect(other).toEqual(platform.collateral(NOW));
    expect(service.requests.length).toBe(5);
  });

  it("a failure is everybody's, and no more than one fetch", async () => {
    const service = await startService();
    service.intercept = status(400);
    const { client, kinds } = makeClient(service);
    const results = await Promise.allSettled([1, 2, 3].map(() => client.get(keys, NOW)));
    expect(results.map((result) => result.status)).toEqual(["rejected", "rejected", "rejected"]);
    expect(service.requests.length).toBeLessThanOrEqual(4);
    expect(kinds()).toEqual(["fetch_failed"]);
  });

  it("closing ends what is under way", async () => {
    const service = await startService();
    service.intercept = () => true; // never answers
    const { client } = makeClient(service);
    const waiting = client.get(keys, NOW);
    await expect.poll(() => service.requests.length).toBe(4);
    client.close();
    await expect(waiting).rejects.toThrow(/was closed/);
  });

  it("is bounded for all platforms together", async () => {
    const service = await startService();
    service.intercept = () => true;
    const { client } = makeClient(service);
    const platforms = Array.from({ length: 9 }, (_, index) => ({ ...keys, fmspc: `00000000000${index}` }));
    const waiting = Promise.allSettled(platforms.slice(0, -1).map((one) => client.get(one, NOW)));
    await expect(client.get(platforms[8] ?? keys, NOW)).rejects.toMatchObject({ code: "busy" });
    client.close();
    await waiting;
  });
});

describe("E8: collateral is refreshed ahead", () => {
  it("in the background, and what is cached stays while that fails", async () => {
    const service = await startService();
    const { client, kinds, events } = makeClient(service);
    const old = await client.get(keys, NOW);
    service.intercept = down;
    expect(await client.get(keys, NOW + 2 * HOUR)).toEqual(old);
    await expect.poll(kinds).toEqual(["fetched", "fetch_failed"]);
    expect(events[1]).toMatchObject({ keys, error: { code: "unreachable" } });
    service.intercept = undefined;
    service.now = NOW + DAY;
    expect(await client.get(keys, NOW + DAY)).toEqual(old);
    await expect.poll(kinds).toEqual(["fetched", "fetch_failed", "fetched"]);
    expect(await client.get(keys, NOW + DAY)).toEqual(platform.collateral(NOW + DAY));
  });

  it("also when nobody asks", async () => {
    const service = await startService();
    const { client } = makeClient(service);
    await client.get(keys, NOW);
    await client.refreshDue(NOW + HOUR - 1);
    expect(service.requests.length).toBe(4);
    for (let day = 1; day <= 40; day++) {
      service.now = NOW + day * DAY;
      await client.refreshDue(NOW + day * DAY);
    }
    service.intercept = down;
    expect(await client.get(keys, NOW + 40 * DAY)).toEqual(platform.collateral(NOW + 40 * DAY));
  });

  it("keepFresh ends with its signal, and with the client", async () => {
    const { client } = makeClient(await startService());
    const stop = new AbortController();
    const ended = client.keepFresh(() => NOW, stop.signal);
    stop.abort();
    await ended;
    const other = client.keepFresh(() => NOW, new AbortController().signal);
    client.close();
    await other;
  });
});

describe("E8: no network and no valid collateral: refused", () => {
  it("when the cached one has expired, and the service is not hammered", async () => {
    const service = await startService();
    const { client, kinds } = makeClient(service, { maxAgeS: 60 * DAY });
    await client.get(keys, NOW);
    service.intercept = down;
    const end = Math.floor(NOW / DAY - 1) * DAY + 30 * DAY; // of the simulated documents
    await expect(client.get(keys, end)).resolves.toBeDefined();
    await expect.poll(kinds).toEqual(["fetched", "fetch_failed"]);
    await expect(client.get(keys, end + 60)).rejects.toMatchObject({
      code: "unreachable",
      rpcCode: "unavailable",
    });
    await expect(client.get(keys, end + 61)).rejects.toMatchObject({ code: "unreachable" });
    expect(kinds()).toEqual(["fetched", "fetch_failed", "fetch_failed"]);
    service.intercept = undefined;
    service.now = end + 120;
    await expect(client.get(keys, end + 120)).resolves.toEqual(platform.collateral(end + 120));
  });

  it.each<[string, Parameters<typeof platformWith>[0]]>([
    ["TCB info", { editTcbInfo: (info) => void (info.nextUpdate = "2026-06-01T01:00:00Z") }],
    ["the QE identity", { editQeIdentity: (id) => void (id.nextUpdate = "2026-06-01T01:00:00Z") }],
    ["the PCK CRL", { pckCrl: { nextUpdate: new Date("2026-06-01T01:00:00Z") } }],
    ["the root CRL", { rootCrl: { nextUpdate: new Date("2026-06-01T01:00:00Z") } }],
  ])("the end of %s is the end of all", async (_what, options) => {
    const service = await startService();
    service.platform = platformWith(options);
    const { client } = makeClient(service);
    await client.get(keys, NOW);
    service.intercept = status(400);
    await expect(client.get(keys, NOW + HOUR)).resolves.toBeDefined();
    await expect(client.get(keys, NOW + HOUR + 60)).rejects.toMatchObject({ code: "unreachable" });
  });

  it("when what is served is past its next update, or issued in the future", async () => {
    const service = await startService();
    service.now = NOW - 60 * DAY;
    await expect(makeClient(service).client.get(keys, NOW)).rejects.toMatchObject({ code: "expired" });
    service.now = NOW + 3 * DAY;
    await expect(makeClient(service).client.get(keys, NOW)).rejects.toThrow(
      /after what this machine's clock/,
    );
  });

  it("when it is older than the configured age, by the signed date of issue and not by that of the fetch", async () => {
    const service = await startService();
    service.now = NOW - 20 * DAY;
    const { client } = makeClient(service);
    await expect(client.get(keys, NOW)).rejects.toThrow(/configured age of the/);
    await expect(makeClient(service, { maxAgeS: 30 * DAY }).client.get(keys, NOW)).resolves.toBeDefined();
    // The root's list is issued once a year: its age does not count.
    service.now = NOW;
    const day = 1000 * DAY;
    service.platform = platformWith({ rootCrl: { thisUpdate: new Date(NOW * 1000 - 100 * day) } });
    await expect(makeClient(service).client.get(keys, NOW)).resolves.toBeDefined();
  });
});

describe("E8: the cache cannot be poisoned", () => {
  const good = platform.collateral(NOW);
  const foreign = platformWith({ fmspc: "FF53494D0001" }).collateral(NOW);
  const processor = platformWith({ ca: "processor" }).collateral(NOW);

  it.each<[string, typeof good, RegExp]>([
    ["edited TCB info", { ...good, tcb_info: good.tcb_info.replace('"2026', '"2036') }, /not genuine/],
    ["a PCK CRL of garbage", { ...good, pck_crl: "3000" }, /not genuine/],
    ["no root CRL", { ...good, root_ca_crl: "30" }, /neither DER nor hex/],
    ["another FMSPC's TCB info, well signed", foreign, /another FMSPC/],
    ["the other CA's CRL, well signed", processor, /another CA/],
  ])("by %s", async (_what, bad, message) => {
    const service = await startService();
    const cacheDir = await tempDir();
    const { client, kinds, events } = makeClient(service, { cacheDir });
    await client.get(keys, NOW);
    service.intercept = serving(bad);
    expect(await client.get(keys, NOW + 2 * HOUR)).toEqual(good);
    await expect.poll(kinds).toEqual(["fetched", "fetch_failed"]);
    expect(events[1]).toMatchObject({
      error: { code: "malformed", message: expect.stringMatching(message) },
    });
    expect(await client.get(keys, NOW + 2 * HOUR)).toEqual(good);
    // Nor does a restart find it, and without a cache it is refused.
    expect(await makeClient(service, { cacheDir }).client.get(keys, NOW)).toEqual(good);
    await expect(makeClient(service).client.get(keys, NOW)).rejects.toMatchObject({ code: "malformed" });
  });

  it("by a simulated platform, where only others are trusted", async () => {
    const { client } = makeClient(await startService(), { anchors: [] });
    await expect(client.get(keys, NOW)).rejects.toThrow(/not genuine/);
  });
});

describe("E8: older than what was seen before is refused", () => {
  const numbered = (number: number): ReturnType<typeof platformWith> =>
    platformWith({
      editTcbInfo: (info) => void (info.tcbEvaluationDataNumber = number),
      editQeIdentity: (id) => void (id.tcbEvaluationDataNumber = number),
    });

  it("by date: what is cached stays, and the event says which documents", async () => {
    const service = await startService();
    const { client, events } = makeClient(service);
    const newer = await client.get(keys, NOW);
    service.now = NOW - 5 * DAY;
    expect(await client.get(keys, NOW + 2 * HOUR)).toEqual(newer);
    await expect.poll(() => events.length).toBe(3);
    expect(events[1]).toMatchObject({
      kind: "rolled_back",
      documents: ["root_crl", "pck_crl", "tcb_info", "qe_identity"],
    });
    expect(await client.get(keys, NOW + 2 * HOUR)).toEqual(newer);
  });

  it("by number, though dated today: the other documents are taken", async () => {
    const service = await startService();
    service.platform = numbered(18);
    const { client, events } = makeClient(service);
    const old = await client.get(keys, NOW);
    service.platform = numbered(17);
    service.now = NOW + DAY;
    await client.refreshDue(NOW + DAY);
    expect(events[1]).toMatchObject({ kind: "rolled_back", documents: ["tcb_info", "qe_identity"] });
    const mixed = await client.get(keys, NOW + DAY);
    expect(mixed.tcb_info).toBe(old.tcb_info);
    expect(mixed.pck_crl).toBe(platform.collateral(NOW + DAY).pck_crl);
  });

  it("a list that revokes somebody is not undone by the one before it", async () => {
    const service = await startService();
    service.platform = platformWith({ revoked: ["pck"] });
    const { client } = makeClient(service);
    const revoking = await client.get(keys, NOW);
    service.platform = platform;
    service.now = NOW - DAY;
    await client.refreshDue(NOW + HOUR);
    expect((await client.get(keys, NOW + HOUR)).pck_crl).toBe(revoking.pck_crl);
  });

  it("also by a process started later, and then there is nothing to fall back on", async () => {
    const service = await startService();
    service.platform = numbered(18);
    const cacheDir = await tempDir();
    await makeClient(service, { cacheDir }).client.get(keys, NOW);
    service.platform = numbered(17);
    service.now = NOW + 20 * DAY;
    const { client, kinds } = makeClient(service, { cacheDir });
    await expect(client.get(keys, NOW + 20 * DAY)).rejects.toMatchObject({
      code: "expired", // the newer ones have expired by now
    });
    const fresh = makeClient(service, { cacheDir });
    await rm(`${cacheDir}/documents.json`);
    await expect(fresh.client.get(keys, NOW + 20 * DAY)).rejects.toMatchObject({
      code: "rollback",
      message: expect.stringContaining(`${cacheDir}/seen.json`),
    });
    expect(kinds()).toContain("rolled_back");
    service.platform = numbered(19);
    await expect(makeClient(service, { cacheDir }).client.get(keys, NOW + 20 * DAY)).resolves.toBeDefined();
  });

  it("for another platform too: lists and QE identity are shared", async () => {
    const service = await startService();
    const { client, events } = makeClient(service);
    await client.get(keys, NOW);
    service.platform = platformWith({ fmspc: "FF53494D0001" });
    service.now = NOW - 2 * DAY;
    const other = await client.get({ ...keys, fmspc: "ff53494d0001" }, NOW);
    expect(other.root_ca_crl).toBe(platform.collateral(NOW).root_ca_crl);
    expect(events[1]).toMatchObject({
      kind: "rolled_back",
      documents: ["root_crl", "pck_crl", "qe_identity"],
    });
    // And what one platform's fetch brings, the other has.
    service.now = NOW + DAY;
    await client.refreshDue(NOW + DAY);
    expect((await client.get(keys, NOW + DAY)).root_ca_crl).toBe(platform.collateral(NOW + DAY).root_ca_crl);
  });
});
