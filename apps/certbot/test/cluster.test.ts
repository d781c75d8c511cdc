import { X509Certificate } from "node:crypto";
import { existsSync } from "node:fs";
import { cp, mkdir, readFile, symlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { loadConfig, silentLogger } from "@dstack/daemon";
import { type Store, etcdConfig, openEtcd } from "@dstack/store";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { CertificateAuthority, generateP256 } from "../../../packages/ra-tls/src/index.js";
import { EtcdServer, etcdUnavailable } from "../../../packages/store/test/support/etcd-server.js";
import { CertbotConfig } from "../src/config.js";
import { startCertbot } from "../src/service.js";
import { CloudflareWorld } from "./support.js";

const reason = etcdUnavailable();
if (reason !== undefined) console.warn(`skipping several certbots: ${reason}`);

const DAY_MS = 86_400_000;
const NAME = "app.example.test";
const ACCOUNT = `account/${NAME}`;

describe.skipIf(reason !== undefined)("several certbots for one name", () => {
  let world: CloudflareWorld;
  let etcd: EtcdServer;
  let prefix: `/${string}/`;
  let clusters = 0;
  /** Orders that were made and certificates that were fetched, in their order; not what Pebble had asked again. */
  const steps: string[] = [];
  beforeAll(async () => {
    world = await CloudflareWorld.start();
    etcd = await EtcdServer.start();
  });
  afterAll(async () => {
    await etcd[Symbol.asyncDispose]();
    await world[Symbol.asyncDispose]();
  });
  beforeEach(() => {
    prefix = `/certbot-${++clusters}/`;
    steps.length = 0;
    world.ca.rewrite = (path, answer) => {
      if (path === "POST /order-plz" && answer.status === 201) steps.push("order");
      if (path.startsWith("POST /certZ/") && answer.status === 200) steps.push("certificate");
      return answer;
    };
  });
  afterEach(async () => {
    world.cloudflare.afterEffect = undefined;
    world.cloudflare.rows.length = 0;
    world.ca.rewrite = undefined;
    await world.dns.setRecords(NAME, []);
  });

  const workdir = (node: string): string => `${clusters}-${node}`;
  const file = (node: string, ...path: string[]): string => join(world.dir, workdir(node), ...path);
  const config = (node: string, top = ""): Promise<string> =>
    world.configFile(
      workdir(node),
      `node = "${node}"\n${top}`,
      `[etcd]\nendpoints = ["${etcd.endpoint}"]\nprefix = "${prefix}"`,
    );
  const run = async (node: string, ...args: string[]) => world.run([...args, "-c", await config(node)]);

  /** The first makes the accounts; the others have them from it, as an operator copies them. */
  async function shareAccounts(first: string, ...others: string[]): Promise<void> {
    expect(await run(first, "init")).toMatchObject({ exitCode: 0 });
    for (const node of others) {
      await mkdir(file(node), { recursive: true });
      await cp(file(first, "credentials.json"), file(node, "credentials.json"));
    }
  }

  /** Puts a certificate that ends so soon in place of what is live. */
  async function makeLive(node: string, daysLeft: number): Promise<void> {
    const key = generateP256();
    const ca = await CertificateAuthority.create({ commonName: "some CA" });
    const cert = await ca.issue({
      publicKey: key.publicKey,
      commonName: NAME,
      altNames: [`*.${NAME}`],
      usages: ["serverAuth"],
      notBefore: new Date(Date.now() - 80 * DAY_MS),
      notAfter: new Date(Date.now() + daysLeft * DAY_MS),
    });
    await mkdir(file(node, "backup/old"), { recursive: true });
    await writeFile(file(node, "backup/old/cert.pem"), cert);
    await writeFile(file(node, "backup/old/key.pem"), key.privateKeyPem);
    await symlink("backup/old", file(node, "live"));
  }

  const observer = (): Promise<Store> =>
    openEtcd(etcdConfig(prefix).parse({ endpoints: [etcd.endpoint] }), {
      node: "observer",
      snapshotPath: join(world.dir, `observer-${clusters}.json`),
      maxBytes: 2 ** 20,
      log: silentLogger(),
    });
  const keyOf = async (node: string): Promise<string> =>
    new X509Certificate(await readFile(file(node, "live/cert.pem"))).publicKey
      .export({ type: "spki", format: "der" })
      .toString("hex");

  it("each gets one of its own key, one after the other, and no key gets into etcd", async () => {
    await shareAccounts("a", "b", "c");
    const results = await Promise.all(["a", "b", "c"].map((node) => run(node, "renew", "--once")));
    expect(results.map(({ exitCode }) => exitCode)).toEqual([0, 0, 0]);
    expect(steps).toEqual(["order", "certificate", "order", "certificate", "order", "certificate"]);
    expect(new Set(await Promise.all(["a", "b", "c"].map(keyOf))).size).toBe(3);
    const waited = results.filter(({ stderr }) => stderr.includes(`is at work on ${NAME}; waiting for it`));
    expect(waited).toHaveLength(2);
    expect(world.caa()).toHaveLength(2);
    await using store = await observer();
    const records = [...store.list("")].filter(([key]) => !key.startsWith("alive/"));
    expect(records.map(([key]) => key)).toEqual([ACCOUNT]);
    expect(JSON.parse(records[0]?.[1].value ?? "")).toEqual({
      accounts: [
        { directory: world.ca.directory, uri: expect.stringMatching(/^https:/) as string, node: "a" },
      ],
    });
  });

  it("one that is killed in an order is followed by the next, and takes its order up when it is back", async () => {
    await shareAccounts("a", "b");
    const first = world.run(["renew", "--once", "-c", await config("a")]);
    // It is held where its challenge has got into DNS.
    let release = (): void => {};
    const held = new Promise<void>((resolve) => (release = resolve));
    await new Promise<void>((resolve) => {
      world.cloudflare.afterEffect = async ({ method, body }) => {
        if (method !== "POST" || !body.includes('"TXT"')) return;
        resolve();
        await held;
      };
    });
    const second = world.run(["renew", "--once", "-c", await config("b")]);
    const waits = new Promise<void>((resolve) => {
      second.stderr.on("data", (chunk: Buffer) => {
        if (chunk.includes(`a is at work on ${NAME}; waiting for it`)) resolve();
      });
    });
    const status = JSON.parse((await run("b", "status", "--json")).stdout) as object;
    expect(status).toMatchObject({ cluster: { node: "b", leader: "a" } });
    await waits;
    world.cloudflare.afterEffect = undefined;
    first.kill("SIGKILL");
    release();
    await first;
    expect(existsSync(file("a", "live"))).toBe(false);
    const next = await second;
    expect(next.exitCode).toBe(0);
    const again = await run("a", "renew", "--once");
    expect(again.stderr).toContain("taking up the order that an earlier run left");
    expect(again.exitCode).toBe(0);
  });

  it("C2: one with no account or another one orders nothing, changes no CAA record, and says whose to copy", async () => {
    await shareAccounts("a");
    const caa = world.caa();
    const alone = await world.configFile(workdir("b"), "auto_set_caa = false");
    expect(await world.run(["init", "-c", alone])).toMatchObject({ exitCode: 0 });
    world.ca.asked.length = 0;
    for (const [node, ...command] of [
      ["b", "set-caa"],
      ["b", "renew", "--once"],
      ["stranger", "init"],
      ["stranger", "renew", "--once"],
    ] as const) {
      const { exitCode, stderr } = await run(node, ...command);
      expect(exitCode).toBe(1);
      expect(stderr).toContain(`Copy credentials.json of a to ${file(node, "credentials.json")}`);
    }
    expect(existsSync(file("stranger", "credentials.json"))).toBe(false);
    expect(world.ca.asked).toEqual([]);
    expect(world.caa()).toEqual(caa);
    expect((await run("b", "status")).stdout).toContain("PROBLEM      a orders from CA pebble with account");

    // What another account may order is the CA's to say, by CAA; an end is no time to wait for the operator.
    await makeLive("b", 2);
    const last = await run("b", "renew", "--once");
    expect(last).toMatchObject({ exitCode: 0 });
    expect(last.stderr).toContain("renewing without the other nodes");
    expect(world.caa()).toEqual(caa);

    steps.length = 0;
    await using store = await observer();
    for (const value of ["{\u001b[31m", "x".repeat(20_000)]) {
      await store.commit({ set: { [ACCOUNT]: value } });
      const { exitCode, stderr } = await run("a", "renew", "--once");
      expect(exitCode).toBe(1);
      expect(stderr).toContain(`Remove it: etcdctl del ${prefix}${ACCOUNT}`);
      expect(stderr).not.toMatch(/\\u001b|xxxx/);
    }
    expect(steps).toEqual([]);
    // The account is lost on all nodes.
    await store.commit({ set: { [ACCOUNT]: undefined } });
    expect(await run("stranger", "init")).toMatchObject({ exitCode: 0 });
    expect((await run("a", "set-caa")).stderr).toContain("Copy credentials.json of stranger");
  });

  it("one that loses etcd in an order stops before another can begin, and takes it up later", async () => {
    await shareAccounts("a");
    await using own = await EtcdServer.start();
    const path = await world.configFile(
      workdir("a"),
      'node = "a"',
      `[etcd]\nendpoints = ["${own.endpoint}"]\nprefix = "${prefix}"`,
    );
    // An order that does not end.
    world.ca.rewrite = (asked, answer) => {
      if (!asked.startsWith("POST /my-order/")) return answer;
      own.signal("SIGSTOP");
      return {
        ...answer,
        body: answer.body.toString().replace(/"status":\s*"\w+"/, '"status":"processing"'),
      };
    };
    const lost = await world.run(["renew", "--once", "-c", path]);
    expect(lost.exitCode).toBe(1);
    expect(lost.stderr).toContain("this node could not hold its place");
    expect(existsSync(file("a", "live"))).toBe(false);
    world.ca.rewrite = undefined;
    own.signal("SIGCONT");
    const again = await world.run(["renew", "--once", "-c", path]);
    expect(again.stderr).toContain("taking up the order that an earlier run left");
    expect(again.exitCode).toBe(0);
  });

  it("without etcd: current stays, due waits while there is time, about to end is renewed, a new node waits", async () => {
    await shareAccounts("current", "due", "ending");
    expect(await run("current", "renew", "--once")).toMatchObject({ exitCode: 0 });
    await makeLive("due", 8);
    await makeLive("ending", 2);
    for (const node of ["due", "ending"]) await run(node, "status"); // has been in the cluster
    const caa = world.caa();
    await etcd.kill();
    steps.length = 0;
    const path = await world.configFile(
      workdir("current"),
      'node = "current"',
      `[metrics]\nport = 0\n[etcd]\nendpoints = ["${etcd.endpoint}"]\nprefix = "${prefix}"`,
    );
    await using service = await startCertbot(await loadConfig(CertbotConfig, { path }), {
      log: silentLogger(),
    });
    const get = async (what: string): Promise<string> =>
      (await fetch(`http://127.0.0.1:${service.port}/${what}`)).text();
    await expect.poll(() => get("healthz")).toContain('"ok"');
    expect(await get("metrics")).toMatch(/^certbot_store_reachable 0$/m);
    const [current, due, ending, stranger] = await Promise.all(
      ["current", "due", "ending", "stranger"].map((node) => run(node, "renew", "--once")),
    );
    expect(current).toMatchObject({ exitCode: 0 });
    expect(current?.stdout).toContain("up to date");
    expect(current?.stderr).toContain("the other nodes were not asked");
    expect(due).toMatchObject({ exitCode: 1 });
    expect(due?.stderr).toMatch(/etcd cannot be used.*from \S+ on it is renewed all the same/);
    expect(ending).toMatchObject({ exitCode: 0 });
    expect(ending?.stdout).toContain("renewed:");
    expect(ending?.stderr).toContain("renewing without the other nodes");
    expect(stranger).toMatchObject({ exitCode: 1 });
    expect(stranger?.stderr).toContain("etcd cannot be used");
    expect(steps).toEqual(["order", "certificate"]);
    expect(world.caa()).toEqual(caa);
    await etcd.start();
  });
});
