import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { expect, it, vi } from "vitest";
import { TproxyConfig, startTproxy } from "../src/index.js";
import { getText } from "./http.js";
import { MemoryWireGuard } from "./memory-wireguard.js";
import { BASE, idOf, makeSite, register, verifier } from "./site.js";

const written = vi.hoisted((): string[] => []);

// Where a logger of a daemon writes: standard output.
vi.mock("node:fs", async (original) => {
  const fs = await original<typeof import("node:fs")>();
  const writeSync = (fd: number, bytes: Buffer): number => {
    if (fd !== 1) return fs.writeSync(fd, bytes);
    written.push(bytes.toString());
    return bytes.length;
  };
  return { ...fs, writeSync };
});

/** What is logged of one request, to a port that the app has closed, with cookies and a query. */
async function linesOf(level: "debug" | "info"): Promise<string[]> {
  await using site = await makeSite({ wg: { ip: "127.77.0.1", client_ip_range: "127.77.0.0/24" } });
  written.length = 0;
  const config: TproxyConfig = { ...site.config, log_level: level };
  await using server = await startTproxy(config, {
    verifier: await verifier(),
    wireguard: new MemoryWireGuard(),
  });
  await register(server, {}, generateKeyPair().publicKey);
  const servername = `${idOf("app")}-9.${BASE}`;
  const url = `https://127.0.0.1:${server.proxyPort}`;
  expect(await getText(url, "/?token=hunter2", { servername, ALPNProtocols: ["http/1.1"] })).toMatchObject({
    status: 502,
  });
  await expect.poll(() => written.filter((line) => line.includes("instance registered"))).toHaveLength(1);
  await expect
    .poll(async () => (await getText(server.url, "/metrics")).text)
    .toContain('outcome="connect_failed"');
  return written.filter((line) => line.includes("connection over"));
}

it("logs a line for each connection at level debug, bounded, and nothing of what went through it", async () => {
  const lines = await linesOf("debug");
  expect(lines).toHaveLength(1);
  const line = lines[0] ?? "";
  expect(JSON.parse(line)).toMatchObject({
    msg: "connection over",
    source: "127.0.0.1",
    serverName: `${idOf("app")}-9.${BASE}`,
    mode: "terminate",
    appId: idOf("app"),
    outcome: "connect_failed",
  });
  expect(line.length).toBeLessThan(1024);
  expect(line).not.toContain("hunter2");
});

it("logs no connections unless the configuration says so", async () => {
  expect(TproxyConfig.shape.log_level.parse(undefined)).toBe("info");
  expect(await linesOf("info")).toEqual([]);
});
