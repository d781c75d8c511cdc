import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import {
  Authority,
  type CaOptions,
  type CertbotOptions,
  Cloudflare,
  type DnsProvider,
  type Log,
  Rfc2136,
  Route53,
  WebhookDns,
} from "@dstack/acme";
import { InputError, errorMessage } from "@dstack/core";
import { type CertbotConfig, type DnsConfig, readSecret } from "./config.js";
import { runHook } from "./hook.js";

/** The configured DNS provider. @throws {InputError} its secret cannot be read */
function dnsProvider(dns: DnsConfig, ttl: number): DnsProvider {
  switch (dns.provider) {
    case "cloudflare": {
      const apiToken = readSecret("api_token", dns.api_token, dns.api_token_file);
      return new Cloudflare({ apiToken, zoneId: dns.zone_id, apiUrl: dns.api_url, ttl });
    }
    case "rfc2136": {
      const secret = Buffer.from(readSecret("key_secret", dns.key_secret, dns.key_secret_file), "base64");
      if (secret.length === 0) throw new InputError('dns: "key_secret" is not base64');
      const key = { name: dns.key_name.toLowerCase(), algorithm: dns.key_algorithm, secret };
      return new Rfc2136({ host: dns.server, port: dns.port, zone: dns.zone, key, ttl });
    }
    case "route53": {
      const secret = readSecret("secret_access_key", dns.secret_access_key, dns.secret_access_key_file);
      return new Route53({
        accessKeyId: dns.access_key_id,
        secretAccessKey: secret,
        sessionToken: dns.session_token,
        zoneId: dns.zone_id,
        apiUrl: dns.api_url,
        ttl,
      });
    }
    case "webhook":
      return new WebhookDns({ url: dns.url, secret: readSecret("secret", dns.secret, dns.secret_file) });
  }
}

function readText(key: string, file: string): string {
  try {
    return readFileSync(file, "utf8").trim();
  } catch (err) {
    throw new InputError(`ca: "${key}": ${errorMessage(err)}`, { cause: err });
  }
}

function caOptions(ca: CertbotConfig["cas"][number]): CertbotOptions["cas"][number] {
  const { eab_kid: kid, eab_hmac_key_file: eabFile, roots_file: roots } = ca;
  if ((kid === undefined) !== (eabFile === undefined)) {
    throw new InputError(`ca ${ca.name}: "eab_kid" and "eab_hmac_key_file" go together`);
  }
  const common = {
    caaNames: ca.caa,
    rootsPem: roots === undefined ? undefined : readText("roots_file", roots),
  };
  const eab =
    kid === undefined || eabFile === undefined
      ? undefined
      : { kid, hmacKey: readText("eab_hmac_key_file", eabFile) };
  const staging: CaOptions | undefined =
    ca.staging_url === undefined
      ? undefined
      : { ...common, name: `${ca.name}-staging`, directory: ca.staging_url };
  return { ...common, name: ca.name, directory: ca.url, eab, staging };
}

/** The configuration as the options of `Certbot`. @throws {InputError} a file it names cannot be read */
export function certbotOptions(config: CertbotConfig, log: Log): CertbotOptions {
  const servers = config.dns_servers;
  const bad = servers?.find((server) => isIP(server.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1")) === 0);
  if (bad !== undefined)
    throw new InputError(`dns_servers: ${bad} is not an IP address, with or without a port`);
  const command = config.renewed_hook;
  return {
    workDir: config.workdir,
    names: config.domains,
    cas: config.cas.map(caOptions),
    email: config.email,
    dns: dnsProvider(config.dns, config.dns_txt_ttl),
    authority: new Authority({ servers }),
    maxDnsWaitMs: config.max_dns_wait * 1000,
    renewBeforeMs: config.renew_days_before * 86_400_000,
    attemptMs: config.renew_timeout * 1000,
    setCaa: config.auto_set_caa,
    hook:
      command === undefined
        ? undefined
        : (files, signal) => runHook(command, files, config.hook_timeout * 1000, signal),
    log,
  };
}
