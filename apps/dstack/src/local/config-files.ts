import { allowedImage } from "@dstack/attestation";
import { writeFileAtomic } from "@dstack/core";
import type { LaunchMeasurements } from "@dstack/tdx-attest";
import { readFile } from "node:fs/promises";
import { stringify } from "smol-toml";
import { BASE_DOMAIN } from "./home.js";
import type { Home } from "./home.js";

/** Host address as guests under QEMU's user-mode networking see it. */
export const HOST_FROM_GUEST = "10.0.2.2";

/** Addresses inside the tunnel; no other network here uses this range. */
export const WIREGUARD = { ip: "10.213.77.1", clientRange: "10.213.77.0/24" };

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
}: Pick<ConfigInputs, "home" | "image" | "launch">): Record<string, unknown> {
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
  const token = (await readFile(home.path("teepod.token"), "utf8")).trim();
  const configs: Record<string, Record<string, unknown>> = {
    kms: {
      host: "127.0.0.1",
      port: ports.kms,
      tls: { key: home.path("kms", "certs", "server.key"), certs: home.path("kms", "certs", "server.pem") },
      core: {
        root_ca_cert: home.path("kms", "certs", "root-ca.pem"),
        root_ca_key: home.path("kms", "certs", "root-ca.key"),
        cert_log_dir: home.path("kms", "log"),
        upgrade_registry_dir: home.path("kms", "upgrades"),
        // Our own guests answer challenges.
        require_fresh_evidence: true,
      },
      attestation: attestationSection(inputs),
    },
    tproxy: {
      host: "127.0.0.1",
      port: ports.tproxy,
      state_dir: home.path("tproxy", "state"),
      require_fresh_evidence: true,
      tls: { key: home.path("tproxy", "rpc.key"), certs: home.path("tproxy", "rpc.pem") },
      wg: {
        interface: inputs.wireguardInterface,
        ip: WIREGUARD.ip,
        client_ip_range: WIREGUARD.clientRange,
        listen_port: ports.wireguard,
        endpoint: `${HOST_FROM_GUEST}:${ports.wireguard}`,
        private_key_file: home.path("tproxy", "wg.key"),
      },
      proxy: {
        cert_chain: home.path("proxy", "cert.pem"),
        cert_key: home.path("proxy", "key.pem"),
        base_domain: BASE_DOMAIN,
        listen_addr: "127.0.0.1",
        listen_port: ports.proxy,
      },
      attestation: attestationSection(inputs),
    },
    teepod: {
      host: "127.0.0.1",
      port: ports.teepod,
      image_path: inputs.imagesDir,
      run_path: home.path("teepod"),
      auth: { tokens: [{ token, role: "operator" }] },
      cvm: {
        ca_cert: home.path("kms", "certs", "root-ca.pem"),
        kms_url: `https://${HOST_FROM_GUEST}:${ports.kms}`,
        tproxy_url: `https://${HOST_FROM_GUEST}:${ports.tproxy}`,
        docker_registry: `http://${HOST_FROM_GUEST}:${ports.registry}`,
        simulator_seed_file: home.path("simulator.seed"),
      },
      // On loopback alone, and any program of this machine may listen there.
      port_mapping: {
        enabled: true,
        address: "127.0.0.1",
        ranges: ["tcp", "udp"].map((protocol) => ({ protocol, from: 1024, to: 65535 })),
      },
      gateway: { base_domain: BASE_DOMAIN, port: ports.proxy, tappd_port: 8090 },
    },
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
