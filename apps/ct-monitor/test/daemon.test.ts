import { createHmac } from "node:crypto";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type TestServer, startServer } from "../../../packages/acme/test/support/http-server.js";
import { startCtMonitor } from "../src/index.js";
import { Site, issue, startTproxy } from "./site.js";

let site: Site;
let webhook: TestServer;
beforeEach(async () => {
  site = await Site.start();
  webhook = await startServer(() => ({ body: "" }));
});
afterEach(async () => {
  await webhook[Symbol.asyncDispose]();
  await site[Symbol.asyncDispose]();
});

interface Told {
  domain: string;
  alert: { id: string; kind: string; facts: Record<string, string> };
}
const told = (): Told[] => webhook.requests.map(({ body }) => JSON.parse(body) as Told);

describe("a running monitor", () => {
  it("C3: alerts by log, webhook and metrics, each alert once, and goes on", async () => {
    const secretFile = join(site.dir, "secret");
    await writeFile(secretFile, "s3cret\n");
    const config = site.config({
      interval_secs: 0.2,
      webhook: { url: webhook.url, secret_file: secretFile },
      metrics: { port: 0 },
    });
    await using monitor = await startCtMonitor(config, await site.parts());
    const get = async (path: string): Promise<Response> => fetch(`http://127.0.0.1:${monitor.port}${path}`);
    await expect.poll(async () => (await get("/healthz")).status).toBe(200);
    expect(await (await get("/metrics")).text()).toMatch(/^ct_monitor_alerts_open\{kind="unknown_key"\} 0$/m);

    site.log.add((await issue()).der);
    await expect.poll(told).toHaveLength(1);
    site.log.add((await issue()).der);
    await expect.poll(told).toHaveLength(2);
    expect(told()[0]).toMatchObject({ domain: config.domain, alert: { kind: "unknown_key" } });
    const [request] = webhook.requests;
    const signed = `${String(request?.headers["x-dstack-timestamp"])}.${request?.body}`;
    const signature = createHmac("sha256", "s3cret").update(signed).digest("hex");
    expect(request?.headers["x-dstack-signature"]).toBe(signature);
    expect(
      site.lines.filter((line) => line.startsWith("❌ certificate has issued to unknown pubkey")),
    ).toHaveLength(2);
    const metrics = async (): Promise<string> => (await get("/metrics")).text();
    await expect.poll(metrics).toMatch(/^ct_monitor_alerts_open\{kind="unknown_key"\} 2$/m);
    expect(await metrics()).toMatch(/^ct_monitor_log_scanned\{source="[^"]+"\} 2$/m);
    expect(monitor.alerts()).toHaveLength(2);
  });

  it("C3: a webhook that fails is told again, over a restart too", async () => {
    site.log.add((await issue()).der);
    webhook.fault = () => ({ status: 500, body: "x".repeat(200_000) });
    const changes = { webhook: { url: webhook.url } };
    const { alerts } = await site.check(changes);
    webhook.fault = undefined;
    await site.check(changes);
    await site.check(changes);
    expect(told().map(({ alert }) => alert.id)).toEqual([alerts[0]?.id, alerts[0]?.id]);
  });

  it("C3: an alert that the webhook refuses does not keep later ones from being told", async () => {
    site.log.add((await issue()).der);
    webhook.fault = () => ({ status: 400, body: "" });
    const changes = { webhook: { url: webhook.url } };
    const refused = (await site.check(changes)).alerts[0]?.id;
    webhook.fault = ({ body }) => (body.includes(String(refused)) ? { status: 400, body: "" } : undefined);
    site.log.add((await issue()).der);
    const { alerts } = await site.check(changes);
    expect(alerts).toHaveLength(2);
    expect(new Set(told().map(({ alert }) => alert.id))).toEqual(new Set(alerts.map(({ id }) => id)));
  });

  it("C3: of several tproxies each one's keys count, and one that is down is told and hides no other one's", async () => {
    await using other = await startTproxy();
    const [first, second, late] = [await issue(), await issue(), await issue()];
    await site.tproxy.tell(first);
    await other.tell(second);
    for (const { der } of [first, second]) site.log.add(der);
    const changes = { tproxy_url: [site.tproxy.url, other.url] };
    expect(await site.check(changes)).toEqual({ alerts: [], failures: [] });
    site.tproxy.keys = [];
    await site.tproxy[Symbol.asyncDispose]();
    site.tproxy[Symbol.asyncDispose] = async () => {};
    await other.tell(late);
    for (const { der } of [first, late, await issue()]) site.log.add(der);
    const { alerts, failures } = await site.check(changes);
    expect([alerts.length, failures.length]).toEqual([1, 1]);
    expect(failures[0]).toContain(new URL(site.tproxy.url).origin);
  });

  it("a tproxy that is down does not keep logs from being watched", async () => {
    const own = await issue();
    await site.tproxy.tell(own);
    await site.check();
    site.tproxy.keys = [];
    await site.tproxy[Symbol.asyncDispose]();
    site.log.add(own.der);
    site.log.add((await issue()).der);
    const { alerts, failures } = await site.check();
    expect([alerts.length, failures.length]).toEqual([1, 1]);
    site.tproxy[Symbol.asyncDispose] = async () => {};
  });
});
