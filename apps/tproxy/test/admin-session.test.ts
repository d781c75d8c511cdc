import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { TOKEN, adminClient, adminSite, adminUrl } from "./admin-site.js";
import { start } from "./site.js";
import type { Tproxy } from "../src/index.js";

const page = new Map([["index.html", Buffer.from("<!doctype html><title>tproxy</title>")]]);
const PAGE = { "x-tproxy-page": "1", "content-type": "application/json" };

function logIn(server: Tproxy, token: string, headers: Record<string, string> = PAGE): Promise<Response> {
  return fetch(`${adminUrl(server)}/login`, { method: "POST", headers, body: JSON.stringify({ token }) });
}

async function session(server: Tproxy): Promise<{ cookie: string; "x-tproxy-page": string }> {
  const answer = await logIn(server, TOKEN);
  const { page: half } = (await answer.json()) as { page: string };
  return { cookie: answer.headers.get("set-cookie")?.split(";")[0] ?? "", "x-tproxy-page": half };
}

async function drain(server: Tproxy, headers: Record<string, string>, method = "POST"): Promise<number> {
  const path = "/prpc/TproxyAdmin.DrainNode?json";
  const body = method === "POST" ? { body: "{}" } : {};
  const answer = await fetch(`${adminUrl(server)}${path}`, {
    method,
    headers: { "content-type": "application/json", ...headers },
    ...body,
  });
  return answer.status;
}

describe("T3: a browser's session with tproxy", () => {
  it("T3: is begun with a token, in a cookie named by the port, that scripts cannot read and other sites do not send", async () => {
    await using site = await adminSite();
    await using server = await start(site, { page });
    expect((await fetch(`${adminUrl(server)}/`)).status).toBe(200);
    expect((await logIn(server, "a-wrong-token-0123456789")).status).toBe(401);
    const answer = await logIn(server, TOKEN);
    expect(answer.status).toBe(200);
    const cookie = `tproxy-session-${server.adminPort}=[0-9a-f]{64}; Path=/; HttpOnly; SameSite=Strict`;
    expect(answer.headers.get("set-cookie")).toMatch(new RegExp(`^${cookie}; Max-Age=43200$`));
    expect(await adminClient(server).getAuditLog({})).toMatchObject({
      entries: [{ who: "alice", from: "127.0.0.1", method: "Login", outcome: "done" }],
    });
  });

  it("T3: changes something with both of its halves only, and never for a page of another origin", async () => {
    await using site = await adminSite();
    await using server = await start(site, { page });
    const { cookie, ...half } = await session(server);
    expect(await drain(server, { cookie })).toBe(401);
    expect(await drain(server, half)).toBe(401);
    expect(await drain(server, { cookie, "x-tproxy-page": "0".repeat(64) })).toBe(401);
    expect(await drain(server, { cookie: cookie.replace(/-\d+=/, "-1="), ...half })).toBe(401);
    expect(await drain(server, { cookie }, "GET")).toBe(401);
    expect(await drain(server, { cookie, ...half, origin: "http://127.0.0.1:8080" })).toBe(403);
    expect(await drain(server, { authorization: `Bearer ${TOKEN}`, origin: "https://evil.example" })).toBe(
      403,
    );
    expect((await logIn(server, TOKEN, { "content-type": "application/json" })).status).toBe(403);
    expect(await adminClient(server).listNodes({})).toMatchObject({ nodes: [{ draining: false }] });
    expect(await drain(server, { cookie, ...half })).toBe(200);
    expect(await adminClient(server).listNodes({})).toMatchObject({ nodes: [{ draining: true }] });
  });

  it("T3: outlives a restart, and ends when the page says so or its token is taken away", async () => {
    await using site = await adminSite();
    let kept: Record<string, string>;
    let port: number;
    {
      await using server = await start(site, { page });
      kept = await session(server);
      port = server.adminPort ?? 0;
    }
    const admin = site.config.admin;
    if (admin === undefined) throw new Error("no admin");
    {
      const config = { ...site.config, admin: { ...admin, port } };
      await using server = await start({ ...site, config }, { page });
      expect(await drain(server, kept)).toBe(200);
      const other = await session(server);
      const options = { method: "POST", headers: { ...PAGE, ...other }, body: "{}" };
      expect((await fetch(`${adminUrl(server)}/logout`, options)).status).toBe(200);
      expect(await drain(server, other)).toBe(401);
    }
    await writeFile(join(site.dir, "admin.token"), "another-token-of-many-letters");
    const config = { ...site.config, admin: { ...admin, port } };
    await using server = await start({ ...site, config }, { page });
    expect(await drain(server, kept)).toBe(401);
  });
});
