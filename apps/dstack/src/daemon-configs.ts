import { join } from "node:path";

/** A configuration, to be written as TOML. */
export type Config = Readonly<Record<string, unknown>>;

/** Host address as guests under QEMU's user-mode networking see it. */
export const HOST_FROM_GUEST = "10.0.2.2";
/** tappd's port inside guests. */
const TAPPD_PORT = 8090;
/** Guests reach every daemon through the host's loopback. */
const LOOPBACK = "127.0.0.1";

const operatorToken = (file: string): Config => ({ name: "operator", token_file: file });

export interface KmsInputs {
  readonly port: number;
  /** Of the KMS root CA, and of the server certificate. */
  readonly certsDir: string;
  readonly stateDir: string;
  readonly attestation: Config;
}

/** `kms.toml`. Guests of ours answer challenges. */
export function kmsConfig({ port, certsDir, stateDir, attestation }: KmsInputs): Config {
  return {
    host: LOOPBACK,
    port,
    tls: { key: join(certsDir, "server.key"), certs: join(certsDir, "server.pem") },
    core: {
      root_ca_cert: join(certsDir, "root-ca.pem"),
      root_ca_key: join(certsDir, "root-ca.key"),
      cert_log_dir: join(stateDir, "log"),
      upgrade_registry_dir: join(stateDir, "upgrades"),
      require_fresh_evidence: true,
    },
    attestation,
  };
}

export interface TproxyInputs {
  readonly port: number;
  readonly adminPort: number;
  readonly adminTokenFile: string;
  readonly stateDir: string;
  readonly tls: { readonly key: string; readonly certs: string };
  readonly wg: {
    readonly interface: string;
    readonly ip: string;
    readonly client_ip_range: string;
    readonly listen_port: number;
    readonly private_key_file: string;
  };
  /** The section as it is to be. */
  readonly proxy: Config;
  readonly acmeAccountFile?: string;
  readonly attestation: Config;
}

/** `tproxy.toml` */
export function tproxyConfig(inputs: TproxyInputs): Config {
  const { port, wg, acmeAccountFile } = inputs;
  return {
    host: LOOPBACK,
    port,
    state_dir: inputs.stateDir,
    ...(acmeAccountFile !== undefined && { acme_account_file: acmeAccountFile }),
    require_fresh_evidence: true,
    tls: inputs.tls,
    wg: { ...wg, endpoint: `${HOST_FROM_GUEST}:${wg.listen_port}` },
    proxy: inputs.proxy,
    admin: { host: LOOPBACK, port: inputs.adminPort, tokens: [operatorToken(inputs.adminTokenFile)] },
    attestation: inputs.attestation,
  };
}

export interface TeepodInputs {
  readonly port: number;
  readonly tokenFile: string;
  /** Whose keys open development images by SSH; need not be there. */
  readonly authorizedKeysFile: string;
  readonly imagesDir: string;
  readonly runDir: string;
  /** The KMS root CA; guests measure it. */
  readonly caCert: string;
  readonly kmsPort: number;
  readonly tproxyPort: number;
  readonly dockerRegistry: string;
  /** What else `[cvm]` says, such as the platform. */
  readonly cvm: Config;
  readonly gateway: { readonly base_domain: string; readonly port: number };
  /** Further sections. */
  readonly more?: Config;
}

/** `teepod.toml` */
export function teepodConfig(inputs: TeepodInputs): Config {
  return {
    host: LOOPBACK,
    port: inputs.port,
    image_path: inputs.imagesDir,
    run_path: inputs.runDir,
    auth: { tokens: [{ ...operatorToken(inputs.tokenFile), role: "operator" }] },
    cvm: {
      ca_cert: inputs.caCert,
      kms_url: `https://${HOST_FROM_GUEST}:${inputs.kmsPort}`,
      tproxy_url: `https://${HOST_FROM_GUEST}:${inputs.tproxyPort}`,
      docker_registry: inputs.dockerRegistry,
      authorized_keys_file: inputs.authorizedKeysFile,
      ...inputs.cvm,
    },
    gateway: { ...inputs.gateway, tappd_port: TAPPD_PORT },
    ...inputs.more,
  };
}
