import type { AllowedImage } from "@dstack/attestation";
import { join, resolve } from "node:path";
import { kmsConfig, teepodConfig, tproxyConfig } from "../daemon-configs.js";
import type { Config } from "../daemon-configs.js";
import type { Settings } from "./settings.js";

/** Port of the simulated platform's collateral, on loopback. */
export const SIMULATED_PCS_PORT = 9081;

/** The daemons that verify guests. */
export type Attesting = "kms" | "tproxy";

export interface Site {
  /** Absolute; everything of the installation lies below it. */
  readonly dir: string;
  readonly settings: Settings;
  /** The guest images whose VMs a daemon serves. */
  readonly allowed: Readonly<Record<Attesting, readonly AllowedImage[]>>;
  /** The public side's certificate and key. */
  readonly proxyCertificate: { readonly cert: string; readonly key: string };
}

/** The daemons' configurations by their names, to be written as TOML; no `certbot` where there is no token for its DNS. */
export function operatorConfigs(site: Site): Readonly<Record<string, Config>> {
  const { settings } = site;
  return {
    kms: kms(site),
    tproxy: tproxy(site),
    teepod: teepod(site),
    "ct-monitor": ctMonitor(site),
    ...(settings.CF_API_TOKEN === undefined ? {} : { certbot: certbot(settings, settings.CF_API_TOKEN) }),
  };
}

function kms(site: Site): Config {
  return kmsConfig({
    port: site.settings.KMS_RPC_LISTEN_PORT,
    certsDir: join(site.dir, "certs"),
    stateDir: join(site.dir, "run", "kms"),
    attestation: attestation(site, "kms"),
  });
}

function tproxy(site: Site): Config {
  const { dir, settings, proxyCertificate } = site;
  const passthrough = settings.TPROXY_LISTEN_PORT_PASSTHROUGH;
  return tproxyConfig({
    port: settings.TPROXY_RPC_LISTEN_PORT,
    adminPort: settings.TPROXY_ADMIN_LISTEN_PORT,
    adminTokenFile: join(dir, "certs", "tproxy.token"),
    stateDir: join(dir, "run", "tproxy"),
    acmeAccountFile: resolve(dir, settings.CERBOT_WORKDIR, "acme-account.json"),
    tls: { key: join(dir, "certs", "tproxy.key"), certs: join(dir, "certs", "tproxy.pem") },
    wg: {
      interface: settings.TPROXY_WG_INTERFACE,
      ip: settings.TPROXY_WG_IP,
      client_ip_range: settings.TPROXY_WG_CLIENT_IP_RANGE,
      listen_port: settings.TPROXY_WG_LISTEN_PORT,
      private_key_file: join(dir, "certs", "wg.key"),
    },
    proxy: {
      cert_chain: proxyCertificate.cert,
      cert_key: proxyCertificate.key,
      base_domain: settings.TPROXY_PUBLIC_DOMAIN,
      listen_port: settings.TPROXY_SERVE_PORT,
      ...(passthrough === undefined ? {} : { listen_port_passthrough: passthrough }),
    },
    attestation: attestation(site, "tproxy"),
  });
}

function teepod({ dir, settings }: Site): Config {
  return teepodConfig({
    port: settings.TEEPOD_RPC_LISTEN_PORT,
    tokenFile: join(dir, "certs", "teepod.token"),
    authorizedKeysFile: join(dir, "certs", "authorized_keys"),
    imagesDir: join(dir, "images"),
    runDir: join(dir, "run", "vm"),
    caCert: join(dir, "certs", "root-ca.pem"),
    kmsPort: settings.KMS_RPC_LISTEN_PORT,
    tproxyPort: settings.TPROXY_RPC_LISTEN_PORT,
    dockerRegistry: settings.DOCKER_REGISTRY,
    cvm: {
      cid_start: settings.TEEPOD_CID_POOL_START,
      ...(settings.SIMULATED_TDX
        ? { simulator_seed_file: join(dir, "certs", "simulator.seed") }
        : { accel: "tdx", qgs_port: settings.QGS_PORT }),
    },
    gateway: { base_domain: settings.TPROXY_PUBLIC_DOMAIN, port: settings.TPROXY_SERVE_PORT },
  });
}

function certbot(settings: Settings, token: string): Config {
  return {
    workdir: settings.CERBOT_WORKDIR,
    domain: `*.${settings.TPROXY_PUBLIC_DOMAIN}`,
    acme_url: settings.ACME_URL,
    cf_api_token: token,
    ...(settings.CF_ZONE_ID === undefined ? {} : { cf_zone_id: settings.CF_ZONE_ID }),
    log_level: "debug",
  };
}

/** For `./ct_monitor -t … -d …` in this directory. This tproxy runs on the host, where nothing can prove its keys. */
function ctMonitor({ dir, settings }: Site): Config {
  return {
    tproxy_url: `https://localhost:${settings.TPROXY_RPC_LISTEN_PORT}/prpc`,
    tproxy_ca: join(dir, "certs", "root-ca.pem"),
    domain: settings.TPROXY_PUBLIC_DOMAIN,
    state_file: join(dir, "run", "ct-monitor", "state.json"),
    insecure_keys_on_trust: true,
  };
}

function attestation({ dir, settings, allowed }: Site, daemon: Attesting): Config {
  return {
    ...(settings.SIMULATED_TDX
      ? {
          pccs_url: `http://127.0.0.1:${SIMULATED_PCS_PORT}`,
          insecure_simulated_roots: [join(dir, "certs", "simulated-root.pem")],
        }
      : {
          pccs_url: settings.PCCS_URL,
          collateral_cache_dir: join(dir, "run", daemon, "collateral"),
        }),
    images: { allowed: allowed[daemon] },
  };
}
