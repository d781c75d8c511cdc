import { allowedImage } from "@dstack/attestation";
import { writeFileAtomic } from "@dstack/core";
import type { LaunchMeasurements } from "@dstack/tdx-attest";
import { stringify } from "smol-toml";
import { HOST_FROM_GUEST, kmsConfig, teepodConfig, tproxyConfig } from "../daemon-configs.js";
import type { Config } from "../daemon-configs.js";
import { BASE_DOMAIN } from "./home.js";
import type { Home } from "./home.js";

/** Addresses inside the tunnel; no other network here uses this range. */
const WIREGUARD = { ip: "10.213.77.1", client_ip_range: "10.213.77.0/24" };

export interface ConfigInputs {
  home: Home;
  imagesDir: string;
  /** Name of the guest image, and what it measures. */
  image: string;
  launch: LaunchMeasurements;
  wireguardInterface: string;
}

/** The `[attestation]` section of every daemon that verifies guests: this image, on this installation's simulated platform. */
export function attestationSection({
  home,
  image,
  launch,
}: Pick<ConfigInputs, "home" | "image" | "launch">): Config {
  return {
    pccs_url: `http://127.0.0.1:${home.ports.pcs}`,
    insecure_simulated_roots: [home.path("simulated-root.pem")],
    images: { allowed: [allowedImage(image, launch)] },
  };
}

/** Writes the configuration of every daemon. Each run writes them anew: they follow from the state. */
export async function writeConfigs(inputs: ConfigInputs): Promise<void> {
  const { home } = inputs;
  const { ports } = home;
  const attestation = attestationSection(inputs);
  const configs: Record<string, Config> = {
    kms: kmsConfig({
      port: ports.kms,
      certsDir: home.path("kms", "certs"),
      stateDir: home.path("kms"),
      attestation,
    }),
    tproxy: tproxyConfig({
      port: ports.tproxy,
      adminPort: ports.tproxyAdmin,
      adminTokenFile: home.path("tproxy.token"),
      stateDir: home.path("tproxy", "state"),
      tls: { key: home.path("tproxy", "rpc.key"), certs: home.path("tproxy", "rpc.pem") },
      wg: {
        interface: inputs.wireguardInterface,
        ...WIREGUARD,
        listen_port: ports.wireguard,
        private_key_file: home.path("tproxy", "wg.key"),
      },
      proxy: {
        cert_chain: home.path("proxy", "cert.pem"),
        cert_key: home.path("proxy", "key.pem"),
        base_domain: BASE_DOMAIN,
        listen_addr: "127.0.0.1",
        listen_port: ports.proxy,
      },
      attestation,
    }),
    teepod: teepodConfig({
      port: ports.teepod,
      tokenFile: home.path("teepod.token"),
      authorizedKeysFile: home.path("authorized_keys"),
      imagesDir: inputs.imagesDir,
      runDir: home.path("teepod"),
      caCert: home.path("kms", "certs", "root-ca.pem"),
      kmsPort: ports.kms,
      tproxyPort: ports.tproxy,
      dockerRegistry: `http://${HOST_FROM_GUEST}:${ports.registry}`,
      cvm: { simulator_seed_file: home.path("simulator.seed") },
      gateway: { base_domain: BASE_DOMAIN, port: ports.proxy },
      // On loopback alone, and any program of this machine may listen there.
      more: {
        port_mapping: {
          enabled: true,
          address: "127.0.0.1",
          ranges: ["tcp", "udp"].map((protocol) => ({ protocol, from: 1024, to: 65535 })),
        },
      },
    }),
  };
  for (const [name, config] of Object.entries(configs)) {
    await writeFileAtomic(home.path(`${name}.toml`), `${stringify(config)}\n`, { mode: 0o600 });
  }
  await writeFileAtomic(
    home.path("registry.yml"),
    [
      "version: 0.1",
      "log: { level: warn }",
      `storage: { filesystem: { rootdirectory: ${JSON.stringify(home.path("registry"))} } }`,
      `http: { addr: "127.0.0.1:${ports.registry}" }`,
      "",
    ].join("\n"),
  );
}
