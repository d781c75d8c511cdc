import { request as httpRequest } from "node:http";
import { appendFile, readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { hex, sha256 } from "@dstack/core";
import { ResourceStack, silentLogger } from "@dstack/daemon";
import { SESSION_SECONDS, Sessions } from "@dstack/dashboard";
import { TeepodConfig } from "../../src/index.js";
import type { Teepod } from "../../src/index.js";
import { AuditLog } from "../../src/http/audit-log.js";
import { FakeHypervisor } from "../helpers/fake-hypervisor.js";
import { ManualClock } from "../helpers/manual-clock.js";
import { COMPOSE, OPERATOR, Site, VIEWER, client, testpod, vmRequest } from "../helpers/testpod.js";

interface Answer {
  status: number;
  headers: Record<string, string | string[] | undefined>;
  body: string;
}

/** A request with exactly these headers; `fetch` would not let a test set Host, Origin and the like. */
function send(
  pod: Teepod,
  path: string,
  options: { method?: string; headers?: Record<string, string>; body?: string } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const { method = "GET", headers = {}, body } = options;
    const request = httpRequest(`${pod.url}${path}`, { method, headers }, (response) => {
      let text = "";
      response.setEncoding("utf8").on("data", (chunk: string) => {
        text += chunk;
      });
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: text }),
      );
    });
    request.on("error", reject);
    request.end(body);
  });
}

const bearer = (token: string): Record<string, string> => ({ authorization: `Bearer ${token}` });
const UNKNOWN_VM = "0d1f6c1e-8a35-4d5e-9c53-2f6a0f3f9b11";
const CHANGES = ["CreateVm", "StartVm", "StopVm", "ShutdownVm", "RemoveVm", "UpgradeApp", "ResizeVm"];
const ALIASES = ["CreateVM", "StartVM", "StopVM", "ShutdownVM", "RemoveVM"];

describe("access with tokens", () => {
  const stack = new ResourceStack();
  let site: Site;
  let pod: Teepod;
  beforeAll(async () => {
    ({ site, teepod: pod } = stack.use(await testpod({ hypervisor: new FakeHypervisor() })));
  });
  afterAll(() => stack[Symbol.asyncDispose]());

  it("T3: nothing but /healthz and the dashboard's files answers a stranger", async () => {
    expect((await send(pod, "/healthz")).status).toBe(200);
    for (const path of [
      "/events",
      "/metrics",
      "/logs?id=x",
      "/vms",
      "/openapi.json",
      "/prpc/Teepod.Status",
      "/nothing",
    ]) {
      const answer = await send(pod, path);
      expect([path, answer.status]).toEqual([path, 401]);
      expect(answer.headers["www-authenticate"]).toBe('Bearer realm="teepod"');
    }
  });

  it("T3: a wrong token, a cut one and another scheme are refused", async () => {
    for (const authorization of [
      "Bearer wrong",
      `Bearer ${OPERATOR.slice(0, -1)}`,
      `Bearer ${OPERATOR}x`,
      `Basic ${btoa(`x:${OPERATOR}`)}`,
      OPERATOR,
      "Bearer ",
    ]) {
      expect((await send(pod, "/prpc/Teepod.Status", { headers: { authorization } })).status).toBe(401);
    }
  });

  for (const method of [...CHANGES, ...ALIASES]) {
    it(`T3: a viewer cannot call ${method}`, async () => {
      const answer = await send(pod, `/prpc/Teepod.${method}?json`, {
        method: "POST",
        headers: bearer(VIEWER),
        body: JSON.stringify({ id: UNKNOWN_VM }),
      });
      expect(answer).toMatchObject({
        status: 403,
        body: '{"error":"this token may look at VMs but not change them"}',
      });
    });
  }

  it("T3: a viewer sees everything", async () => {
    for (const path of [
      "/metrics",
      "/openapi.json",
      "/prpc/Teepod.Status",
      "/prpc/Teepod.ListVms",
      "/prpc/Teepod.ListImages",
    ]) {
      expect([path, (await send(pod, path, { headers: bearer(VIEWER) })).status]).toEqual([path, 200]);
    }
  });

  it("T3: who may only look cannot make teepod read much", async () => {
    const call = (method: string, token: string, bytes: number) =>
      send(pod, `/prpc/Teepod.${method}?json`, {
        method: "POST",
        headers: bearer(token),
        body: "[".repeat(bytes),
      });
    expect((await call("Status", VIEWER, 32 * 1024)).status).toBe(413);
    expect((await call("StopVm", OPERATOR, 32 * 1024)).status).toBe(413);
    expect((await call("CreateVm", OPERATOR, 32 * 1024)).status).toBe(400);
    for (const method of ["CreateVm", "UpgradeApp"])
      expect((await call(method, OPERATOR, 10 * 2 ** 20)).status).toBe(413);
  });

  it("T3: a compose document and an environment of the largest size fit", async () => {
    const text = JSON.stringify({ ...JSON.parse(COMPOSE), pad: "" });
    const composeFile = text.replace('"pad":""', `"pad":"${"\\n".repeat((256 * 1024 - text.length) / 2)}"`);
    const answer = await send(pod, "/prpc/Teepod.CreateVm?json", {
      method: "POST",
      headers: bearer(OPERATOR),
      body: JSON.stringify({
        ...{ name: "large", image: "tiny-0.0.1", vcpu: 1, memory: 64, disk_size: 1 },
        compose_file: composeFile,
        encrypted_env: "00".repeat(2 ** 20),
      }),
    });
    expect(answer.status).toBe(200);
  });

  describe("with a browser's session", () => {
    const PAGE = { "x-teepod-page": "1", "content-type": "application/json" };

    async function logIn(token: string, headers: Record<string, string> = PAGE): Promise<Answer> {
      return send(pod, "/login", { method: "POST", headers, body: JSON.stringify({ token }) });
    }

    /** The cookie and the header of a session. */
    async function sessionOf(token: string): Promise<{ cookie: string; "x-teepod-page": string }> {
      const { headers, body } = await logIn(token);
      const [cookie = ""] = headers["set-cookie"] ?? [];
      const { page } = JSON.parse(body) as { page: string };
      return { cookie: cookie.split(";")[0] ?? "", "x-teepod-page": page };
    }

    it("T3: a token begins one, in a cookie that scripts cannot read and other sites do not send", async () => {
      const answer = await logIn(OPERATOR);
      expect(answer.status).toBe(200);
      const page = expect.stringMatching(/^[0-9a-f]{64}$/);
      expect(JSON.parse(answer.body)).toEqual({ name: "olga", role: "operator", page });
      expect(answer.headers["set-cookie"]).toEqual([
        expect.stringMatching(
          /^teepod-session-\d+=[0-9a-f]{64}; Path=\/; HttpOnly; SameSite=Strict; Max-Age=43200$/,
        ),
      ]);
      expect((await logIn("wrong-token-0123456789")).status).toBe(401);
      expect((await send(pod, "/login", { method: "POST", headers: PAGE, body: "{}" })).status).toBe(400);
    });

    it("T3: the cookie alone is no authority: pages on other ports of this machine send it too", async () => {
      const session = await sessionOf(OPERATOR);
      const { cookie } = session;
      const stop = (headers: Record<string, string>, method = "POST") =>
        send(pod, `/prpc/Teepod.StopVm?id=${UNKNOWN_VM}`, { method, headers });
      expect((await stop(session, "GET")).status).toBe(404);
      expect((await stop({ cookie }, "GET")).status).toBe(401);
      expect((await stop({ cookie })).status).toBe(401);
      expect((await stop({ ...session, origin: "http://127.0.0.1:8080" })).status).toBe(403);
      expect((await stop({ ...session, "sec-fetch-site": "same-site" })).status).toBe(403);
      expect((await logIn(OPERATOR, { "content-type": "application/json" })).status).toBe(403);
      expect((await logIn(OPERATOR, { ...PAGE, origin: "http://127.0.0.1:8080" })).status).toBe(403);
    });

    it("T3: an app on a forwarded port, whose server browsers send the cookie to, cannot use it", async () => {
      const { cookie, ...header } = await sessionOf(OPERATOR);
      const other = await sessionOf(VIEWER);
      const list = (headers: Record<string, string>) => send(pod, "/prpc/Teepod.ListVms", { headers });
      expect((await list({ cookie, ...header })).status).toBe(200);
      const guesses = ["1", "none", "0".repeat(64), cookie.split("=")[1] ?? "", other["x-teepod-page"]];
      for (const guess of guesses) expect((await list({ cookie, "x-teepod-page": guess })).status).toBe(401);
      // Nor can it put the browser into a session of its own.
      expect((await list({ cookie: other.cookie, ...header })).status).toBe(401);
    });

    it("T3: no other origin is told that it may send what a session needs", async () => {
      const headers = {
        origin: "http://127.0.0.1:8080",
        "access-control-request-method": "POST",
        "access-control-request-headers": "x-teepod-page",
      };
      const answer = await send(pod, "/prpc/Teepod.StopVm", { method: "OPTIONS", headers });
      expect(answer.status).toBe(401);
      expect(Object.keys(answer.headers).filter((name) => name.startsWith("access-control"))).toEqual([]);
    });

    it("T3: it has the token's role, and ends when the page says so", async () => {
      const session = await sessionOf(VIEWER);
      const call = (method: string) =>
        send(pod, `/prpc/Teepod.${method}?json`, {
          method: "POST",
          headers: { ...PAGE, ...session },
          body: "{}",
        });
      expect((await call("Status")).status).toBe(200);
      expect((await call("StopVm")).status).toBe(403);
      expect(
        (await send(pod, "/logout", { method: "POST", headers: { ...PAGE, ...session }, body: "{}" })).status,
      ).toBe(200);
      expect(await call("Status")).toMatchObject({
        status: 401,
        body: '{"error":"the session is over; log in again"}',
      });
    });

    it("T3: beginning one stands in the audit log", async () => {
      await logIn(VIEWER);
      const { entries } = await client(pod).getAuditLog({ limit: 1 });
      expect(entries).toMatchObject([{ who: "victor", role: "viewer", method: "Login", outcome: "done" }]);
    });
  });

  it("T3: requests made by pages of another origin are refused", async () => {
    const call = (headers: Record<string, string>) =>
      send(pod, "/prpc/Teepod.StopVm?json", {
        method: "POST",
        headers: { ...bearer(OPERATOR), ...headers },
        body: JSON.stringify({ id: UNKNOWN_VM }),
      });
    expect((await call({})).status).toBe(404);
    expect((await call({ origin: pod.url })).status).toBe(404);
    expect((await call({ origin: "https://evil.example" })).status).toBe(403);
    expect((await call({ origin: "null" })).status).toBe(403);
    expect((await call({ "sec-fetch-site": "cross-site" })).status).toBe(403);
    expect((await call({ "sec-fetch-site": "same-site" })).status).toBe(403);
  });

  it("T3: every change stands in the audit log, with who asked and what became of it", async () => {
    const { id } = await client(pod).createVm(vmRequest({ name: "audited" }));
    await expect(client(pod).removeVm({ id })).rejects.toThrow("stop it first");
    await client(pod).stopVm({ id });
    await client(pod).removeVm({ id });
    const lines = (await readFile(join(site.runPath, "audit.log"), "utf8")).trim().split("\n");
    const entries = lines.map((line) => JSON.parse(line.slice(65)) as Record<string, string>).slice(-8);
    expect(
      entries.map((e) => [e["who"], e["role"], e["method"], e["vm"], e["outcome"], e["message"]]),
    ).toEqual([
      ["olga", "operator", "CreateVm", "audited", "asked", undefined],
      ["olga", "operator", "CreateVm", "audited", "done", undefined],
      ["olga", "operator", "RemoveVm", id, "asked", undefined],
      ["olga", "operator", "RemoveVm", id, "refused", "the VM is running; stop it first"],
      ["olga", "operator", "StopVm", id, "asked", undefined],
      ["olga", "operator", "StopVm", id, "done", undefined],
      ["olga", "operator", "RemoveVm", id, "asked", undefined],
      ["olga", "operator", "RemoveVm", id, "done", undefined],
    ]);
    expect(entries[0]?.["from"]).toBe("127.0.0.1");
    expect(entries[1]?.["result"]).toBe(id);
  });

  it("T3: the audit log goes on where it ended", async () => {
    await using own = await testpod({ hypervisor: new FakeHypervisor() });
    await own.client.createVm(vmRequest());
    const path = join(own.site.runPath, "audit.log");
    const before = await readFile(path, "utf8");
    await own.teepod[Symbol.asyncDispose]();
    await using again = await own.site.start(own.site.config(), { hypervisor: new FakeHypervisor() });
    await client(again).createVm(vmRequest());
    const after = await readFile(path, "utf8");
    expect(after.startsWith(before)).toBe(true);
    expect(after.length).toBeGreaterThan(before.length);
  });
});

describe("sessions", () => {
  const log = silentLogger();
  const tokens = [
    { name: "olga", role: "operator", digest: sha256(OPERATOR) },
    { name: "victor", role: "viewer", digest: sha256(VIEWER) },
  ] as const;

  it("T3: outlive teepod, but neither their time nor their token", async () => {
    await using site = await Site.make();
    const path = join(site.dir, "sessions.json");
    const clock = new ManualClock();
    const id = await (await Sessions.open(path, tokens, clock, log)).begin(tokens[0]);
    const again = await Sessions.open(path, tokens, clock, log);
    expect(again.find(id)?.name).toBe("olga");
    expect((await Sessions.open(path, [tokens[1]], clock, log)).find(id)).toBeUndefined();
    clock.advance(SESSION_SECONDS * 1000);
    expect(again.find(id)).toBeUndefined();
  });

  it("T3: their file is of no use to who reads it", async () => {
    await using site = await Site.make();
    const path = join(site.dir, "sessions.json");
    const id = await (await Sessions.open(path, tokens, new ManualClock(), log)).begin(tokens[0]);
    const text = await readFile(path, "utf8");
    expect(text).not.toContain(id);
    expect(text).not.toContain(hex(sha256(OPERATOR)));
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  it("end with a file that is broken, and go on without one that can be written", async () => {
    await using site = await Site.make();
    const path = join(site.dir, "sessions.json");
    await writeFile(path, "[{");
    const sessions = await Sessions.open(path, tokens, new ManualClock(), log);
    expect(sessions.find(await sessions.begin(tokens[0]))?.name).toBe("olga");
    const nowhere = await Sessions.open(join(site.dir, "gone", "s.json"), tokens, new ManualClock(), log);
    expect(nowhere.find(await nowhere.begin(tokens[1]))?.name).toBe("victor");
  });

  it("T3: are not kept without end", async () => {
    await using site = await Site.make();
    const sessions = await Sessions.open(join(site.dir, "sessions.json"), tokens, new ManualClock(), log);
    const first = await sessions.begin(tokens[0]);
    for (let i = 0; i < 256; i++) await sessions.begin(tokens[1]);
    expect(sessions.find(first)).toBeUndefined();
  });
});

describe("the audit log", () => {
  const entry = { who: "o", role: "operator", from: "::1", request: "r", method: "StopVm" } as const;
  const open = (path: string) => AuditLog.open(path, new ManualClock(), silentLogger());

  /** A log of entries about these VMs; gives its path and text. */
  async function logOf(site: Site, ...vms: string[]): Promise<{ path: string; text: string }> {
    const path = join(site.dir, "audit.log");
    await using log = await open(path);
    for (const vm of vms) await log.append({ ...entry, vm, outcome: "done" });
    return { path, text: await readFile(path, "utf8") };
  }

  it("is read page by page, newest first", async () => {
    await using site = await Site.make();
    await using log = await open(join(site.dir, "audit.log"));
    expect(await log.read(10)).toEqual({ entries: [] });
    // More than one read of the file takes at once.
    for (let i = 0; i < 5; i++) {
      await log.append({ ...entry, vm: String(i), outcome: "refused", message: "x".repeat(50_000) });
    }
    const seen: string[] = [];
    for (let before: number | undefined, pages = 0; pages < 6; pages++) {
      const { entries, older } = await log.read(2, before);
      seen.push(...entries.map(({ vm }) => vm));
      before = older;
      if (older === undefined) break;
    }
    expect(seen).toEqual(["4", "3", "2", "1", "0"]);
    // A place that is none: the line that is cut off there is left out.
    expect((await log.read(1, 60_000)).entries).toMatchObject([{ vm: "0" }]);
  });

  it("T3: goes on after a teepod that was killed in the middle of a line", async () => {
    await using site = await Site.make();
    const { path, text } = await logOf(site, "x");
    await appendFile(path, 'abc {"seq":1,"who":"olga","met');
    await using log = await open(path);
    await log.append({ ...entry, vm: "y", outcome: "done" });
    expect((await readFile(path, "utf8")).startsWith(text)).toBe(true);
    expect((await log.read(10)).entries.map(({ vm, seq }) => [vm, seq])).toEqual([
      ["y", 1],
      ["x", 0],
    ]);
  });

  it("T3: teepod does not start with a log that somebody changed, cut in the middle or added to", async () => {
    await using site = await Site.make();
    const { path, text } = await logOf(site, "a", "b", "c");
    const [a = "", b = "", c = ""] = text.trimEnd().split("\n");
    for (const changed of [
      [a, b.replace('"vm":"b"', '"vm":"d"'), c],
      [a, c],
      [b, c],
      [a, b, c, c],
      ['{"who":"olga"}'],
    ]) {
      await writeFile(path, `${changed.join("\n")}\n`);
      await expect(open(path)).rejects.toMatchObject({ name: "ChainedLogError", code: "broken_chain" });
    }
    const config = site.config({ run_path: site.dir });
    await expect(site.start(config, { hypervisor: new FakeHypervisor() })).rejects.toThrow(
      /audit\.log.*entry 0/,
    );
  });

  it("T3: is given whole, with its head, to callers who may look", async () => {
    await using pod = await testpod({ hypervisor: new FakeHypervisor() });
    await pod.client.createVm(vmRequest());
    const file = await send(pod.teepod, "/audit.log", { headers: bearer(VIEWER) });
    expect(file.body).toBe(await readFile(join(pod.site.runPath, "audit.log"), "utf8"));
    const { headSeq, headHash } = await client(pod.teepod, VIEWER).getAuditLog({});
    expect([headSeq, headHash]).toEqual([1n, file.body.split("\n")[1]?.slice(0, 64)]);
    expect((await send(pod.teepod, "/audit.log")).status).toBe(401);
  });
});

describe("the configuration", () => {
  async function refused(auth: object, more: object = {}): Promise<string> {
    await using site = await Site.make();
    const result = TeepodConfig.safeParse({ ...site.config(), auth, ...more });
    return result.success ? "" : result.error.issues.map((issue) => issue.message).join("; ");
  }

  it("T3: needs tokens", async () => {
    expect(await refused({})).not.toBe("");
    expect(await refused({ tokens: [] })).toBe("must have at least one token");
    expect(await refused({ tokens: [{ role: "operator", token: "short" }] })).toContain("16 characters");
    expect(await refused({ tokens: [{ role: "operator" }] })).toContain('either "token" or "token_file"');
    expect(await refused({ tokens: [{ role: "admin", token: OPERATOR }] })).not.toBe("");
  });

  // A guest reaches 10.0.2.2, which is the host's loopback. Without tokens each guest would be an operator.
  it("T3: has no way to switch tokens off", async () => {
    expect(await refused({ insecure_no_auth: true })).not.toBe("");
    expect(await refused({ tokens: [], insecure_no_auth: true })).not.toBe("");
  });

  it("takes tokens from files", async () => {
    await using site = await Site.make();
    const file = join(site.dir, "token");
    await writeFile(file, "a-token-from-a-file-0123\n");
    await using pod = await site.start(
      site.config({ auth: { tokens: [{ role: "viewer", token_file: file }] } }),
      {
        hypervisor: new FakeHypervisor(),
      },
    );
    expect((await send(pod, "/metrics", { headers: bearer("a-token-from-a-file-0123") })).status).toBe(200);
    await writeFile(file, "short\n");
    const config = site.config({
      run_path: join(site.dir, "other"),
      auth: { tokens: [{ role: "viewer", token_file: file }] },
    });
    await expect(site.start(config, { hypervisor: new FakeHypervisor() })).rejects.toThrow(
      "fewer than 16 characters",
    );
  });
});
