import { describe, expect, it } from "vitest";
import { readSettings } from "../src/settings/settings.js";

const SEED = {
  CLOUDFLARE_API_TOKEN: "token",
  DOMAIN: "App.example.com",
  GATEWAY_DOMAIN: "_.dstack-prod5.example.net",
  CERTBOT_EMAIL: "ops@example.com",
  SET_CAA: "true",
  TARGET_ENDPOINT: "http://app:80",
};

describe("the environment", () => {
  it("takes the variables of the first release as its document shows them", () => {
    expect(readSettings(SEED)).toMatchObject({
      routes: new Map([["app.example.com", { protocol: "http", host: "app", port: 80 }]]),
      gatewayDomain: "_.dstack-prod5.example.net",
      email: "ops@example.com",
      setCaa: true,
      port: 443,
      txtPrefix: "_dstack-app-address",
      acmeDirectory: "https://acme-v02.api.letsencrypt.org/directory",
      renewIntervalMs: 43_200_000,
    });
  });

  it("takes those of its successors: several domains, each with a target", () => {
    const settings = readSettings({
      ...SEED,
      DOMAIN: undefined,
      DOMAINS: "a.example.com, b.example.com\n*.C.example.com",
      ROUTING_MAP: "b.example.com=grpc://api:50051\nd.example.com=other:8080",
      PORT: "8443",
      TXT_PREFIX: "_tapp-address",
      ACME_STAGING: "true",
      RENEW_INTERVAL: "3600",
      METRICS_PORT: "9100",
      RENEW_DAYS_BEFORE: "20",
    });
    const app = { protocol: "http", host: "app", port: 80 };
    expect(settings.routes).toEqual(
      new Map([
        ["a.example.com", app],
        ["b.example.com", { protocol: "grpc", host: "api", port: 50_051 }],
        ["*.c.example.com", app],
        ["d.example.com", { protocol: "http", host: "other", port: 8080 }],
      ]),
    );
    expect(settings.acmeDirectory).toContain("staging");
    expect(settings).toMatchObject({
      port: 8443,
      txtPrefix: "_tapp-address",
      renewIntervalMs: 3600_000,
      renewBeforeMs: 20 * 86_400_000,
      metricsPort: 9100,
    });
  });

  it("takes the later names of variables too", () => {
    const { CERTBOT_EMAIL: email, ...rest } = SEED;
    const settings = readSettings({ ...rest, ACME_EMAIL: email, CERTBOT_STAGING: "true" });
    expect(settings.email).toBe("ops@example.com");
    expect(settings.acmeDirectory).toContain("staging");
  });

  it("names every variable that is missing, in one error", () => {
    expect(() => readSettings({})).toThrow(
      /CLOUDFLARE_API_TOKEN: is missing\n {2}GATEWAY_DOMAIN: is missing/,
    );
    expect(() => readSettings({ ...SEED, DOMAIN: "" })).toThrow("DOMAIN: is missing");
    expect(() => readSettings({ ...SEED, TARGET_ENDPOINT: "" })).toThrow(
      "TARGET_ENDPOINT: is missing: nobody says where requests for app.example.com go",
    );
  });

  it.each([
    ["DOMAIN", "a.*.example.com", "is not a domain name"],
    ["GATEWAY_DOMAIN", "*.example.net", "must be one name"],
    ["DOMAIN", "https://app.example.com", "is not a domain name"],
    ["TARGET_ENDPOINT", "https://app:443", "https:// is not known"],
    ["TARGET_ENDPOINT", "http://app:80/path", "a target has none"],
    ["TARGET_ENDPOINT", "http://user:pw@app", "a target has no password"],
    ["TARGET_ENDPOINT", "app:http", "must be such as"],
    ["ROUTING_MAP", "app.example.com", "is not of the form domain=host:port"],
    ["SET_CAA", "yes", "neither true nor false"],
    ["PORT", "0", "is not a number from 1 to 65535"],
    ["PORT", "443.5", "must be a whole number"],
    ["TXT_PREFIX", "a.b", "must be one label"],
    ["CERTBOT_EMAIL", "ops", "is no e-mail address"],
    ["ACME_DIRECTORY_URL", "file:///etc/passwd", "is no http(s):// address"],
    ["DNS_SERVERS", "dns.example.com", "is no IP address"],
    ["RENEW_INTERVAL", "1", "is not a number from 60"],
    ["DNS_PROVIDER", "linode", "only cloudflare is supported"],
    ["CHALLENGE_TYPE", "tls-alpn-01", "only dns-01 is supported"],
    ["DELEGATION_ZONE", "*.example.net", "must be one name"],
  ])("refuses %s=%s", (name, value, why) => {
    expect(() => readSettings({ ...SEED, [name]: value })).toThrow(`  ${name}: `);
    expect(() => readSettings({ ...SEED, [name]: value })).toThrow(why);
  });
});
