import { describe, expect, it } from "vitest";
import { TproxyConfig } from "../src/index.js";
import { makeSite } from "./site.js";

async function problemOf(change: (input: Record<string, Record<string, unknown>>) => void): Promise<string> {
  await using site = await makeSite();
  const input = structuredClone(site.input) as unknown as Record<string, Record<string, unknown>>;
  change(input);
  const result = TproxyConfig.safeParse(input);
  return result.success
    ? ""
    : result.error.issues.map((issue) => `${issue.path.join(".")}: ${issue.message}`).join("; ");
}

const section = (input: Record<string, Record<string, unknown>>, name: string): Record<string, unknown> =>
  input[name] ?? {};

describe("tproxy.toml", () => {
  it("has defaults and reads names and ranges", async () => {
    await using site = await makeSite({
      proxy: { base_domain: "APP.Example.org.", allowed_ports: ["80", "8000-8999"] },
    });
    expect(site.config.proxy).toMatchObject({
      base_domain: "app.example.org",
      tappd_port: 8090,
      allowed_ports: [
        { from: 80, to: 80 },
        { from: 8000, to: 8999 },
      ],
      limits: { idle_secs: 600, connections_per_app: 2000 },
    });
    expect(site.config.wg).toMatchObject({ backend: "auto", mtu: 1420, recycle_after_secs: 36_000 });
  });

  it.each<[string, (input: Record<string, Record<string, unknown>>) => void, RegExp]>([
    ["an unknown key", (i) => (section(i, "wg")["prot"] = 1), /Unrecognized key: "prot"/],
    [
      "both keys",
      (i) => (section(i, "wg")["private_key"] = "x"),
      /private_key_file or private_key, and not both/,
    ],
    ["no key", (i) => delete section(i, "wg")["private_key_file"], /private_key_file or private_key/],
    ["a long interface name", (i) => (section(i, "wg")["interface"] = "a".repeat(16)), /interface name/],
    ["an interface name that is an option", (i) => (section(i, "wg")["interface"] = "-h"), /interface name/],
    ["a range that is none", (i) => (section(i, "wg")["client_ip_range"] = "10.0.3.0"), /not an IPv4 range/],
    ["a huge range", (i) => (section(i, "wg")["client_ip_range"] = "10.0.0.0/8"), /at most 65536/],
    [
      "an IPv6 range beside an IPv4 address",
      (i) => (section(i, "wg")["client_ip_range"] = "fd00:77::/112"),
      /client_ip_range: must be of the family of ip, both IPv4 or both IPv6/,
    ],
    [
      "an IPv4 range beside an IPv6 address",
      (i) => (section(i, "wg")["ip"] = "fd00:77::1"),
      /client_ip_range: must be of the family of ip/,
    ],
    ["an endpoint without port", (i) => (section(i, "wg")["endpoint"] = "10.0.2.2"), /must be host:port/],
    [
      "a base domain that is none",
      (i) => (section(i, "proxy")["base_domain"] = "app_x.org"),
      /must be a domain name/,
    ],
    [
      "a port range turned round",
      (i) => (section(i, "proxy")["allowed_ports"] = ["9-8"]),
      /between 1 and 65535/,
    ],
  ])("refuses %s", async (_, change, problem) => {
    expect(await problemOf(change)).toMatch(problem);
  });

  it("sends etcd's password to nobody in clear text, but on this machine", async () => {
    const problemWith = (...endpoints: string[]): Promise<string> =>
      problemOf((input) => {
        const access = { ca: "ca.pem", username: "tproxy", password_file: "etcd.password" };
        Object.assign(input, { store: "etcd", etcd: { endpoints, ...access } });
      });
    for (const url of ["http://10.0.0.2:2379", "http://127.0.0.1.example.org", "http://localhost@etcd:1"]) {
      expect(await problemWith("https://etcd-1:2379", url)).toMatch(/password goes to https endpoints only/);
    }
    expect(await problemWith("https://etcd-1:2379", "http://127.0.0.1:2379", "http://[::1]:2379")).toBe("");
  });
});
