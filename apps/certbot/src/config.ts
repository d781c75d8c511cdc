import { readFileSync } from "node:fs";
import { InputError, errorMessage } from "@dstack/core";
import { TSIG_ALGORITHMS, parseDomain } from "@dstack/acme";
import { MAX_CHANGE_KEYS, NodeName, etcdConfig } from "@dstack/store";
import { z } from "zod";

const seconds = z.number().positive();
const domain = z.string().transform((text, context) => {
  try {
    return parseDomain(text);
  } catch (err) {
    context.addIssue(errorMessage(err));
    return z.NEVER;
  }
});
const caName = z.string().regex(/^[a-z0-9-]{1,40}$/, "lower-case letters, digits and hyphens");
const secretFile = z.string().min(1).optional();

const Ca = z.strictObject({
  /** For logs and files. */
  name: caName,
  /** ACME directory. */
  url: z.url(),
  /** Directory of its staging service, for `certbot rehearse`. */
  staging_url: z.url().optional(),
  /** Its names in CAA records; by default what its directory says. */
  caa: z.array(z.string().min(1)).optional(),
  /** Root certificates beside the system's: a private CA. */
  roots_file: z.string().optional(),
  /** External account binding, where the CA wants one. */
  eab_kid: z.string().optional(),
  eab_hmac_key_file: z.string().optional(),
});

const Dns = z.discriminatedUnion("provider", [
  z.strictObject({
    provider: z.literal("cloudflare"),
    api_token: z.string().optional(),
    api_token_file: secretFile,
    zone_id: z.string().optional(),
    api_url: z.url().optional(),
  }),
  z.strictObject({
    provider: z.literal("rfc2136"),
    server: z.string().min(1),
    port: z.int().min(1).max(65535).default(53),
    zone: domain.optional(),
    key_name: z.string().min(1),
    key_algorithm: z.enum(TSIG_ALGORITHMS).default("hmac-sha256"),
    /** Base64. */
    key_secret: z.string().optional(),
    key_secret_file: secretFile,
  }),
  z.strictObject({
    provider: z.literal("route53"),
    access_key_id: z.string().min(1),
    secret_access_key: z.string().optional(),
    secret_access_key_file: secretFile,
    session_token: z.string().optional(),
    zone_id: z.string().optional(),
    api_url: z.url().optional(),
  }),
  z.strictObject({
    provider: z.literal("webhook"),
    url: z.url(),
    secret: z.string().optional(),
    secret_file: secretFile,
  }),
]);
export type DnsConfig = z.infer<typeof Dns>;

/** `certbot.toml`. Paths are relative to the working directory. The keys of the original are kept, at the top level. */
export const CertbotConfig = z
  .strictObject({
    workdir: z.string().min(1),
    domain: domain.optional(),
    domains: z.array(domain).min(1).optional(),
    email: z.string().optional(),
    /** One CA; for several of them write `[[ca]]` tables instead. */
    acme_url: z.url().optional(),
    ca: z.array(Ca).min(1).optional(),
    cf_api_token: z.string().optional(),
    cf_zone_id: z.string().optional(),
    cf_api_url: z.url().optional(),
    dns: Dns.optional(),
    /** `ip` or `ip:port` of the servers that are asked whether a record is there; by default the zone's own. */
    dns_servers: z.array(z.string()).min(1).optional(),
    dns_txt_ttl: z.int().min(1).default(60),
    max_dns_wait: seconds.default(300),
    auto_set_caa: z.boolean().default(true),
    renew_interval: seconds.default(3600),
    renew_days_before: z.number().positive().default(10),
    renew_timeout: seconds.default(900),
    renewed_hook: z.array(z.string()).min(1).optional(),
    hook_timeout: seconds.default(60),
    /** The name of this node among those that keep certificates for the same names, and the etcd that elects one at a time. */
    node: NodeName.optional(),
    etcd: etcdConfig("/dstack/certbot/").optional(),
    log_level: z.enum(["debug", "info", "warn", "error"]).default("info"),
    metrics: z
      .strictObject({ host: z.string().default("127.0.0.1"), port: z.int().min(0).max(65535) })
      .optional(),
  })
  .transform(({ domain: one, domains: several, ...config }, context) => {
    const problem = (message: string): void => context.addIssue(message);
    if ((one === undefined) === (several === undefined)) problem('give either "domain" or "domains"');
    if (config.ca !== undefined && config.acme_url !== undefined) problem('give either "acme_url" or "ca"');
    if (config.dns !== undefined && config.cf_api_token !== undefined) {
      problem('give either "cf_api_token" or a table "dns"');
    }
    if ((config.node === undefined) !== (config.etcd === undefined)) problem('"node" and [etcd] go together');
    if (config.etcd !== undefined && (several?.length ?? 0) > MAX_CHANGE_KEYS) {
      problem(`with [etcd], "domains" has at most ${MAX_CHANGE_KEYS} names`);
    }
    const cas = config.ca ?? [singleCa(config.acme_url ?? LETSENCRYPT)];
    if (new Set(cas.map(({ name }) => name)).size < cas.length) problem("two CAs have the same name");
    if (config.dns === undefined && config.cf_api_token === undefined) {
      problem('"cf_api_token" or a table "dns" is missing: certbot must be able to change DNS records');
    }
    const dns: DnsConfig = config.dns ?? {
      provider: "cloudflare",
      api_token: config.cf_api_token,
      zone_id: config.cf_zone_id,
      api_url: config.cf_api_url,
    };
    return { ...config, domains: several ?? (one === undefined ? [] : [one]), cas, dns };
  });

export type CertbotConfig = z.infer<typeof CertbotConfig>;

const LETSENCRYPT = "https://acme-v02.api.letsencrypt.org/directory";
const LETSENCRYPT_STAGING = "https://acme-staging-v02.api.letsencrypt.org/directory";

function singleCa(url: string): z.infer<typeof Ca> {
  if (url === LETSENCRYPT) return { name: "letsencrypt", url, staging_url: LETSENCRYPT_STAGING };
  return { name: url === LETSENCRYPT_STAGING ? "letsencrypt-staging" : "ca", url };
}

/**
 * A secret given as text or as the name of a file that holds it.
 * @throws {InputError} neither or both are given, or the file cannot be read
 */
export function readSecret(key: string, text: string | undefined, file: string | undefined): string {
  if ((text === undefined) === (file === undefined)) {
    throw new InputError(`dns: give either "${key}" or "${key}_file"`);
  }
  if (text !== undefined) return text;
  try {
    return readFileSync(file ?? "", "utf8").trim();
  } catch (err) {
    throw new InputError(`dns: "${key}_file": ${errorMessage(err)}`, { cause: err });
  }
}
