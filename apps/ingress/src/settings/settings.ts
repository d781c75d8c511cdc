import { isIP } from "node:net";
import { parseDomain } from "@dstack/acme";
import { InputError, errorMessage } from "@dstack/core";
import { z } from "zod";
import { type Target, parseTarget } from "./target.js";

/** A variable's text as a value; what the reader throws becomes the complaint. */
const read = <T>(reader: (text: string) => T) =>
  z.string().transform((text, context) => {
    try {
      return reader(text.trim());
    } catch (err) {
      context.addIssue(errorMessage(err));
      return z.NEVER;
    }
  });
const list = <T>(reader: (text: string) => T) =>
  read((text) => {
    const parts = text.split(/[\n,]/).map((part) => part.trim());
    return parts.filter((part) => part !== "").map(reader);
  });
const flag = read((text) => {
  if (/^(true|false)$/i.test(text)) return text.toLowerCase() === "true";
  throw new InputError(`${JSON.stringify(text)} is neither true nor false`);
});
const number = (from: number, to: number) =>
  read((text) => {
    const value = Number(text);
    if (/^\d+(\.\d+)?$/.test(text) && value >= from && value <= to) return value;
    throw new InputError(`${JSON.stringify(text)} is not a number from ${from} to ${to}`);
  });
const port = number(1, 65_535).refine(Number.isInteger, "must be a whole number");
const httpUrl = read((text) => {
  const protocol = URL.canParse(text) ? new URL(text).protocol : undefined;
  if (protocol === "https:" || protocol === "http:") return text;
  throw new InputError(`${JSON.stringify(text)} is no http(s):// address`);
});
const dnsServer = (text: string): string => {
  if (isIP(text.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1")) !== 0) return text;
  throw new InputError(`${JSON.stringify(text)} is no IP address, with or without a port`);
};

/** A name that records stand at: no wildcard. */
function plainDomain(text: string): string {
  const domain = parseDomain(text);
  if (domain.startsWith("*.")) throw new InputError(`${domain} must be one name`);
  return domain;
}

/** `app.example.com=app:8080` */
function route(text: string): [string, Target] {
  const at = text.indexOf("=");
  if (at < 0) throw new InputError(`${JSON.stringify(text)} is not of the form domain=host:port`);
  return [parseDomain(text.slice(0, at).trim()), parseTarget(text.slice(at + 1).trim())];
}

const Variables = z.object({
  CLOUDFLARE_API_TOKEN: read((text) => text),
  DOMAIN: read(parseDomain).optional(),
  DOMAINS: list(parseDomain).optional(),
  GATEWAY_DOMAIN: read(plainDomain),
  CERTBOT_EMAIL: read((text) => {
    if (/^[^\s@,]+@[^\s@,]+$/.test(text)) return text;
    throw new InputError(`${JSON.stringify(text)} is no e-mail address`);
  }).optional(),
  SET_CAA: flag.default(false),
  TARGET_ENDPOINT: read(parseTarget).optional(),
  ROUTING_MAP: list(route).optional(),
  PORT: port.default(443),
  TXT_PREFIX: read((text) => {
    if (/^_[a-z0-9-]{1,62}$/.test(text)) return text;
    throw new InputError(`${JSON.stringify(text)} must be one label that begins with _`);
  }).default("_dstack-app-address"),
  DELEGATION_ZONE: read(plainDomain).optional(),
  ACME_STAGING: flag.default(false),
  ACME_DIRECTORY_URL: httpUrl.optional(),
  ACME_CA_FILE: read((text) => text).optional(),
  ACME_CAA: list(parseDomain).optional(),
  CLOUDFLARE_API_URL: httpUrl.optional(),
  DNS_SERVERS: list(dnsServer).optional(),
  RENEW_INTERVAL: number(60, 30 * 86_400).default(43_200),
  RENEW_DAYS_BEFORE: number(0, 3650).default(30),
  METRICS_PORT: port.optional(),
  STATE_DIR: read((text) => text).default("/etc/letsencrypt/dstack-ingress"),
  LOG_LEVEL: z.enum(["debug", "info", "warn", "error"]).default("info"),
});

/** What the original programs can and this one cannot; set to anything else than this, they stop it at its start. */
const ONLY: Readonly<Record<string, string>> = {
  CHALLENGE_TYPE: "dns-01",
  DNS_PROVIDER: "cloudflare",
};

/** Later names of the same. */
const ALIASES: Readonly<Record<string, string>> = {
  ACME_EMAIL: "CERTBOT_EMAIL",
  CERTBOT_STAGING: "ACME_STAGING",
};

const LETSENCRYPT = "https://acme-v02.api.letsencrypt.org/directory";
const LETSENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory";

export interface Settings {
  readonly cloudflare: { readonly apiToken: string; readonly apiUrl: string | undefined };
  /** Served names in lower case, wildcards included, each with its target; never empty. */
  readonly routes: ReadonlyMap<string, Target>;
  readonly gatewayDomain: string;
  readonly email: string | undefined;
  readonly setCaa: boolean;
  readonly port: number;
  readonly txtPrefix: string;
  /** All records are set in this zone, where those of the domains lead by CNAME. */
  readonly delegationZone: string | undefined;
  readonly acmeDirectory: string;
  /** PEM file of roots to trust at the CA beside the system's. */
  readonly acmeCaFile: string | undefined;
  /** The CA's names in CAA records; what its directory says when undefined. */
  readonly acmeCaaNames: readonly string[] | undefined;
  readonly dnsServers: readonly string[] | undefined;
  readonly renewIntervalMs: number;
  readonly renewBeforeMs: number;
  readonly metricsPort: number | undefined;
  readonly stateDir: string;
  readonly logLevel: "debug" | "info" | "warn" | "error";
}

/**
 * Reads the environment. A variable that is empty is one that is not set: compose files pass on what nobody gave.
 * @throws {InputError} with a line for each variable that is missing or wrong
 */
export function readSettings(environment: Readonly<Record<string, string | undefined>>): Settings {
  const given = Object.fromEntries(
    Object.entries(environment)
      .filter(([, value]) => value !== undefined && value.trim() !== "")
      .map(([name, value]) => [ALIASES[name] ?? name, value]),
  );
  const problems = Object.entries(ONLY)
    .filter(([name, only]) => (given[name] ?? only).toLowerCase() !== only)
    .map(([name, only]) => `${name}: only ${only} is supported`);
  const parsed = Variables.safeParse(given);
  for (const { path, code, message } of parsed.error?.issues ?? []) {
    const name = path.join(".");
    problems.push(`${name}: ${code === "invalid_type" ? "is missing" : message}`);
  }
  const routes = parsed.success ? routesOf(parsed.data, problems) : new Map<string, Target>();
  if (problems.length > 0 || !parsed.success) {
    throw new InputError(
      `these variables must be set right:\n${problems.map((line) => `  ${line}`).join("\n")}`,
    );
  }
  const variables = parsed.data;
  return {
    cloudflare: { apiToken: variables.CLOUDFLARE_API_TOKEN, apiUrl: variables.CLOUDFLARE_API_URL },
    routes,
    gatewayDomain: variables.GATEWAY_DOMAIN,
    email: variables.CERTBOT_EMAIL,
    setCaa: variables.SET_CAA,
    port: variables.PORT,
    txtPrefix: variables.TXT_PREFIX,
    delegationZone: variables.DELEGATION_ZONE,
    acmeDirectory:
      variables.ACME_DIRECTORY_URL ?? (variables.ACME_STAGING ? LETSENCRYPT_STAGING : LETSENCRYPT),
    acmeCaFile: variables.ACME_CA_FILE,
    acmeCaaNames: variables.ACME_CAA,
    dnsServers: variables.DNS_SERVERS,
    renewIntervalMs: variables.RENEW_INTERVAL * 1000,
    renewBeforeMs: variables.RENEW_DAYS_BEFORE * 86_400_000,
    metricsPort: variables.METRICS_PORT,
    stateDir: variables.STATE_DIR,
    logLevel: variables.LOG_LEVEL,
  };
}

/** Each domain with its target: that of `ROUTING_MAP`, or else `TARGET_ENDPOINT`. */
function routesOf(variables: z.infer<typeof Variables>, problems: string[]): Map<string, Target> {
  const { DOMAIN, DOMAINS = [], TARGET_ENDPOINT, ROUTING_MAP = [] } = variables;
  const mapped = new Map(ROUTING_MAP);
  const domains = new Set([...(DOMAIN === undefined ? [] : [DOMAIN]), ...DOMAINS, ...mapped.keys()]);
  if (domains.size === 0) problems.push("DOMAIN: is missing");
  const routes = new Map<string, Target>();
  for (const domain of domains) {
    const target = mapped.get(domain) ?? TARGET_ENDPOINT;
    if (target !== undefined) routes.set(domain, target);
    else problems.push(`TARGET_ENDPOINT: is missing: nobody says where requests for ${domain} go`);
  }
  return routes;
}
