import { InputError } from "@dstack/core";
import type { CertbotConfig } from "./config.js";

const EXAMPLE_TOKEN = "replace me";
/** RFC 2606 §3: nobody's, and no CA issues for them. */
const EXAMPLE_DOMAIN = /(^|\.)example\.(com|net|org)$/;

/**
 * Keeps a configuration that nobody has edited from reaching a CA, whose limits count mistakes too.
 * @throws {InputError} it has the example's domain or token
 */
export function requireOwnValues({ domains, dns }: CertbotConfig, path: string): void {
  const example = domains.find((domain) => EXAMPLE_DOMAIN.test(domain));
  if (example !== undefined)
    throw new InputError(`${path}: ${example} is the example's domain; put your own there before going on`);
  if (dns.provider === "cloudflare" && dns.api_token === EXAMPLE_TOKEN)
    throw new InputError(
      `${path}: "cf_api_token" is still the example's; put your own there before going on`,
    );
}

/** What `certbot cfg` prints: it loads as it is, and no command but `cfg` works with it. */
export const EXAMPLE_CONFIG = `# certbot.toml. Commented lines show defaults or alternatives. Any key can also come from the environment:
# CERTBOT_CF_API_TOKEN, CERTBOT_METRICS__PORT (table and key joined by two underscores).

# Where accounts, keys and certificates live. tproxy reads <workdir>/live/cert.pem and <workdir>/live/key.pem.
workdir = "./certbot"

# Names of the certificate. One: domain = "*.app.example.com"
domains = ["*.app.example.com"]

# Told to the CA, for its mail.
# email = "ops@example.com"

# The CA. While trying things out use Let's Encrypt's staging service, which has generous limits:
# acme_url = "https://acme-staging-v02.api.letsencrypt.org/directory"
acme_url = "https://acme-v02.api.letsencrypt.org/directory"

# Several CAs, the first that works is taken; in place of acme_url:
# [[ca]]
# name = "letsencrypt"
# url = "https://acme-v02.api.letsencrypt.org/directory"
# staging_url = "https://acme-staging-v02.api.letsencrypt.org/directory"   # for certbot rehearse
# caa = ["letsencrypt.org"]              # names in CAA records; default: what the CA's directory says
# [[ca]]
# name = "google"
# url = "https://dv.acme-v02.api.pki.goog/directory"
# eab_kid = "..."
# eab_hmac_key_file = "/etc/dstack/google.eab"

# Cloudflare, with a token that has Zone:Read and DNS:Edit. The zone is found by itself.
cf_api_token = "${EXAMPLE_TOKEN}"
# cf_zone_id = "..."
# cf_api_url = "https://api.cloudflare.com/client/v4"

# Another DNS provider, in place of the cf_ keys (one of these tables, at the end of the file):
# [dns]
# provider = "rfc2136"                   # BIND, Knot, PowerDNS
# server = "192.0.2.53"
# port = 53
# key_name = "certbot"
# key_algorithm = "hmac-sha256"
# key_secret_file = "/etc/dstack/tsig.key"   # base64
# [dns]
# provider = "route53"
# access_key_id = "AKIA..."
# secret_access_key_file = "/etc/dstack/aws.key"
# [dns]
# provider = "webhook"
# url = "https://dns-hook.example.com/"
# secret_file = "/etc/dstack/dns-hook.key"

# Keep CAA records that let only our accounts issue.
auto_set_caa = true

# Seconds between checks, and days before its end that a certificate is renewed.
renew_interval = 3600
renew_days_before = 10
# Seconds that one attempt may take in all, and of these the wait for one DNS record.
renew_timeout = 900
max_dns_wait = 300
# Seconds that resolvers may remember our records.
dns_txt_ttl = 60
# Servers that are asked whether a record is there; default: those of the zone.
# dns_servers = ["192.0.2.53"]

# Run after a new certificate is live, without a shell; run again by later checks until it succeeds.
# renewed_hook = ["systemctl", "reload", "nginx"]
# hook_timeout = 60

# One of several nodes, each with a key of its own: they order one after the other, elected by etcd. All of them have the
# same credentials.json, copied by hand. The keys of [etcd] (at the end of the file) are those of tproxy.toml.
# node = "node-1"
# [etcd]
# endpoints = ["https://10.0.0.1:2379", "https://10.0.0.2:2379", "https://10.0.0.3:2379"]
# ca = "etcd-ca.pem"                     # for https
# cert = "etcd-client.pem"               # where etcd asks for a certificate
# key = "etcd-client.key"
# username = "certbot"                   # over https, or to this machine's own etcd
# password_file = "etcd.password"
# prefix = "/dstack/certbot/"

# "debug" shows each step.
log_level = "info"

# Prometheus metrics and /healthz.
# [metrics]
# host = "127.0.0.1"
# port = 9121
`;
