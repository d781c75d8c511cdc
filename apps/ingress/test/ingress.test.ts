import { X509Certificate } from "node:crypto";
import { once } from "node:events";
import { connect as http2Connect } from "node:http2";
import type { IncomingMessage } from "node:http";
import { request as httpsRequest } from "node:https";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { connect } from "node:tls";
import { fileURLToPath } from "node:url";
import { execa } from "execa";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { silentLogger } from "@dstack/daemon";
import { type Ingress, readSettings, startIngress } from "../src/index.js";
import { freePort } from "../../../packages/core/test/support/ports.js";
import { openGuestAgent } from "../src/guest-agent.js";
import { type Listening, startApp } from "./support.js";
import { SHOP, World } from "./world.js";

const WILD = "*.wild.example.localhost";

let world: World;
let app: Listening;
let environment: Record<string, string>;
let ingress: Ingress;

beforeAll(async () => {
  world = await World.start();
  app = await startApp((request, response) => {
    // Long enough that a renewal falls into some of them.
    setTimeout(() => response.end(`app ${request.url}`), 20);
  });
  environment = {
    ...(await world.environment(app.port)),
    DOMAINS: WILD,
    METRICS_PORT: String(await freePort()),
  };
  ingress = await world.ingress(environment);
});
afterAll(async () => {
  await ingress[Symbol.asyncDispose]();
  await app[Symbol.asyncDispose]();
  await world[Symbol.asyncDispose]();
});

/** One request on a connection of its own. */
async function get(path: string, host = SHOP): Promise<{ status: number; type: string; body: string }> {
  const request = httpsRequest({
    host: "127.0.0.1",
    port: ingress.port,
    path,
    servername: host,
    rejectUnauthorized: false,
    agent: false,
    headers: { host },
  });
  request.end();
  const [response] = (await once(request, "response")) as [IncomingMessage];
  const { statusCode: status = 0, headers } = response;
  return { status, type: headers["content-type"] ?? "", body: await text(response) };
}

async function servedSerial(): Promise<string> {
  const socket = connect({
    host: "127.0.0.1",
    port: ingress.port,
    servername: SHOP,
    rejectUnauthorized: false,
  });
  await once(socket, "secureConnect");
  const serial = socket.getPeerX509Certificate()?.serialNumber ?? "";
  socket.destroy();
  return serial;
}

describe("an ingress for a custom domain", () => {
  it("sets CNAME, TXT and CAA records", () => {
    const rows = (type: string) => world.cloudflare.rows.filter((row) => row.type === type);
    const content = `"${world.guest.appId}:${environment["PORT"]}"`;
    expect(rows("CNAME")).toMatchObject(
      [SHOP, WILD].map((name) => ({ name, content: "_.gateway.test", proxied: false })),
    );
    expect(rows("TXT")).toMatchObject([
      { name: `_dstack-app-address.${SHOP}`, content },
      { name: "_dstack-app-address-wildcard.wild.example.localhost", content },
    ]);
    const value = expect.stringMatching(
      /^pebble\.letsencrypt\.org;validationmethods=dns-01;accounturi=https:\/\/127\.0\.0\.1:\d+\/my-account\/\w+$/,
    ) as string;
    for (const at of [SHOP, "wild.example.localhost"]) {
      const caa = rows("CAA").filter(({ name }) => name === at);
      expect(caa.map(({ data }) => data)).toEqual([
        { flags: 0, tag: "issue", value },
        { flags: 0, tag: "issuewild", value },
      ]);
    }
  });

  it("passes requests on to the app", async () => {
    expect(await get("/hello?a=b")).toMatchObject({ status: 200, body: "app /hello?a=b" });
  });

  it("serves every name below a wildcard, with its certificate, and none above or further down", async () => {
    expect(await get("/a", "one.wild.example.localhost")).toMatchObject({ status: 200, body: "app /a" });
    for (const other of ["wild.example.localhost", "a.one.wild.example.localhost"]) {
      expect(await get("/a", other)).toMatchObject({ status: 421 });
    }
    const names = new X509Certificate((await get("/evidences/cert.pem")).body).subjectAltName;
    expect(names?.split(", ").toSorted()).toEqual([`DNS:${WILD}`, `DNS:${SHOP}`]);
  });

  it("tells Prometheus of certificate, checks, replies and quotes, and is healthy", async () => {
    await get("/evidences/quote.json?nonce=00");
    const ask = async (path: string) =>
      (await fetch(`http://127.0.0.1:${ingress.metricsPort}${path}`)).text();
    const metrics = await ask("/metrics");
    expect(metrics).toMatch(/^ingress_certificate_expiry_seconds 1\d{9}$/m);
    expect(metrics).toMatch(/^ingress_last_success_seconds 1\d{9}/m);
    expect(metrics).toMatch(/^ingress_checks_total\{result="renewed"\} 1$/m);
    expect(metrics).toMatch(/^ingress_replies_total\{status="4xx"\} \d+$/m);
    expect(metrics).toMatch(/^ingress_quotes_total\{status="200"\} 1$/m);
    expect(metrics).not.toContain(world.cloudflare.token);
    expect(await ask("/healthz")).toBe('{"status":"ok"}');
    expect(await get("/metrics")).toMatchObject({ body: "app /metrics" });
  });

  it("serves evidence that sha256sum agrees with, and a page about it", async () => {
    for (const name of ["acme-account.json", "cert.pem", "sha256sum.txt"]) {
      await writeFile(join(world.dir, name), (await get(`/evidences/${name}`)).body);
    }
    const { stdout } = await execa("sha256sum", ["--check", "--strict", "sha256sum.txt"], { cwd: world.dir });
    expect(stdout).toBe("acme-account.json: OK\ncert.pem: OK");
    const account = JSON.parse((await get("/evidences/acme-account.json")).body) as { uri: string };
    expect(account).toMatchObject({
      body: { contact: ["mailto:ops@example.com"] },
      caa: ["pebble.letsencrypt.org"],
    });
    expect(JSON.stringify(account)).not.toContain("PRIVATE");
    const quote = JSON.parse((await get("/evidences/quote.json")).body) as object;
    expect(Object.keys(quote)).toEqual(["quote", "event_log"]);
    const page = await get("/evidences/");
    expect(page.type).toContain("text/html");
    expect(page.body).toMatch(/<time datetime="20\d\d-[^"]+">/);
    expect(await get("/evidences")).toMatchObject({ status: 308 });
    expect(await get("/evidences/other")).toMatchObject({ status: 404 });
  });

  it("C5: is verified by dstack verify from outside, down to the compose document", async () => {
    const { code, out } = await world.verify(ingress.port);
    expect(code, out).toBe(0);
    expect(out).toMatch(/^ok +CAA records: shop\.example\.localhost lets nobody issue but account/m);
    expect(out).toContain("endpoint verified (simulated platform)");
  });

  it("renews under load without losing a request, in flight or new, and its evidence stays whole", async () => {
    const before = await servedSerial();
    const stop = new AbortController();
    const session = http2Connect(`https://${SHOP}:${ingress.port}`, {
      host: "127.0.0.1",
      servername: SHOP,
      rejectUnauthorized: false,
    });
    const overHttp2 = async (): Promise<string> => {
      const stream = session.request({ ":path": "/load" });
      return text(stream);
    };
    let done = 0;
    const client = async (one: () => Promise<string>): Promise<void> => {
      while (!stop.signal.aborted) {
        expect(await one()).toBe("app /load");
        done++;
      }
    };
    const load = Promise.all([
      ...Array.from({ length: 3 }, () => client(async () => (await get("/load")).body)),
      ...Array.from({ length: 3 }, () => client(overHttp2)),
    ]);
    await ingress.renew({ force: true });
    const renewed = done;
    await expect.poll(() => done).toBeGreaterThan(renewed + 12);
    stop.abort();
    await load;
    session.close();
    expect(await servedSerial()).not.toBe(before);
    const { code, out } = await world.verify(ingress.port);
    expect(code, out).toBe(0);
  });

  it("puts right what somebody did to its records, and is not verified until then", async () => {
    const { rows } = world.cloudflare;
    const issue = rows.find(({ type, data }) => type === "CAA" && data?.tag === "issue");
    rows.splice(0, rows.length, ...rows.filter((row) => row !== issue));
    const old = { id: "old", type: "TXT", name: `_dstack-app-address.${SHOP}`, content: '"0000:1"', ttl: 60 };
    rows.push(old);
    await world.dns.setRecords(
      SHOP,
      rows.filter(({ name }) => name === SHOP),
    );
    const refused = await world.verify(ingress.port);
    expect(refused.code, refused.out).toBe(1);
    await ingress.renew({ force: false });
    expect(world.cloudflare.rows.filter(({ type }) => type === "TXT")).toHaveLength(2);
    expect((await world.verify(ingress.port)).code).toBe(0);
  });

  it("serves at once after a restart, when neither CA nor DNS can be reached", async () => {
    const serial = await servedSerial();
    await ingress[Symbol.asyncDispose]();
    const nobody = {
      CLOUDFLARE_API_URL: "http://127.0.0.1:1",
      ACME_DIRECTORY_URL: environment["ACME_DIRECTORY_URL"] ?? "",
    };
    ingress = await world.ingress({ ...environment, ...nobody });
    expect(await servedSerial()).toBe(serial);
    expect(await get("/again")).toMatchObject({ body: "app /again" });
    await ingress[Symbol.asyncDispose]();
    ingress = await world.ingress(environment);
    expect((await world.verify(ingress.port)).code).toBe(0);
  });
});

describe("the program", () => {
  let program = "";
  beforeAll(async () => {
    program = join(world.dir, "ingress.mjs");
    const root = fileURLToPath(new URL("../../../", import.meta.url));
    await execa("node", ["scripts/bundle.mjs", "apps/ingress/src/main.ts", program], { cwd: root });
  });
  const run = (env: Record<string, string>) =>
    execa("node", [program], { env, extendEnv: false, reject: false, timeout: 400_000 });

  it("says at its start what is missing, all at once", async () => {
    const { exitCode, stderr } = await run({ PATH: process.env["PATH"] ?? "", DOMAIN: SHOP });
    expect(exitCode).toBe(1);
    expect(stderr).toContain("  CLOUDFLARE_API_TOKEN: is missing");
    expect(stderr).toContain("  GATEWAY_DOMAIN: is missing");
  });

  it("says which socket is not mounted", async () => {
    const { exitCode, stderr } = await run({ ...environment, PATH: process.env["PATH"] ?? "" });
    expect(exitCode).toBe(1);
    expect(stderr).toContain('Add "/var/run/tappd.sock:/var/run/tappd.sock" to the service\'s volumes');
  });
});

it("stops waiting for its first certificate when it is told to", async () => {
  const stop = new AbortController();
  const settings = readSettings({
    ...environment,
    CLOUDFLARE_API_URL: "http://127.0.0.1:1",
    METRICS_PORT: "",
    STATE_DIR: join(world.dir, "none yet"),
  });
  const starting = startIngress(settings, {
    log: silentLogger(),
    agent: openGuestAgent(world.sockets),
    signal: stop.signal,
  });
  const reason = new Error("stopped by SIGTERM");
  setTimeout(() => stop.abort(reason), 200);
  await expect(starting).rejects.toBe(reason);
});
