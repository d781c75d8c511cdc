import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { allowedImage } from "@dstack/attestation";
import { hex, sha256, sha384 } from "@dstack/core";
import { ResourceStack, silentLogger } from "@dstack/daemon";
import type { PageFiles } from "@dstack/dashboard";
import { KmsConfig, initKms, issueServerCert, startKms } from "@dstack/kms";
import type { Kms, KmsConfigInput } from "@dstack/kms";
import { teepod } from "@dstack/proto";
import { createClient, httpTransport } from "@dstack/prpc";
import { CertificateAuthority, generateP256 } from "@dstack/ra-tls";
import { SimulatedPlatform, measureImage, startSimulatedPcs } from "@dstack/tdx-attest";
import type { LaunchMeasurements } from "@dstack/tdx-attest";
import { TeepodConfig, startTeepod } from "@dstack/teepod";
import type { Teepod } from "@dstack/teepod";
import { TproxyConfig, startTproxy } from "@dstack/tproxy";
import type { Tproxy } from "@dstack/tproxy";
import { Agent, request } from "undici";
import { FakeHypervisor } from "./fake-hypervisor.js";
import { FakeNetwork } from "./fake-network.js";

export const BASE_DOMAIN = "app.test";
const TUNNEL_IP = "10.99.0.1";
const HUB = "hub";
/** An operator's. */
export const TEEPOD_TOKEN = "operator-of-the-testbed";
const DAY_MS = 86_400_000;

export interface TestbedOptions {
  /** Changes the configuration of the KMS, for refusals. */
  kms?: (config: KmsConfigInput) => KmsConfigInput;
  /** Registers that the KMS and tproxy allow, instead of the image's. */
  allowedRegisters?: (image: LaunchMeasurements) => LaunchMeasurements;
  /** The dashboard that teepod serves, for browsers. */
  page?: PageFiles;
}

/**
 * The whole system in one process: kms, tproxy, teepod, `tdxctl boot` and tappd are the real ones and talk over real TLS; the VM,
 * its disk, the tunnel and the CPU's signature are fakes.
 */
export class Testbed implements AsyncDisposable {
  private constructor(
    readonly dir: string,
    readonly platform: SimulatedPlatform,
    readonly pccsUrl: string,
    readonly launch: LaunchMeasurements,
    readonly kms: Kms,
    readonly tproxy: Tproxy,
    readonly teepodDaemon: Teepod,
    readonly hypervisor: FakeHypervisor,
    readonly network: FakeNetwork,
    private readonly proxyCa: string,
    private readonly stack: ResourceStack,
  ) {}

  static async start(options: TestbedOptions = {}): Promise<Testbed> {
    await using stack = new ResourceStack();
    const dir = await mkdtemp(join(tmpdir(), "dstack-testbed-"));
    stack.defer(() => rm(dir, { recursive: true, force: true }));
    const path = (...parts: string[]): string => join(dir, ...parts);
    for (const name of ["images", "vms", "tproxy", "proxy"]) await mkdir(path(name));
    const log = silentLogger();

    const seed = sha256("testbed", dir);
    const platform = SimulatedPlatform.fromSeed(seed);
    await writeFile(path("simulator.seed"), hex(seed), { mode: 0o600 });
    await writeFile(path("simulated-root.pem"), platform.rootCertificatePem);
    const pcs = stack.use(await startSimulatedPcs({ platform, host: "127.0.0.1", port: 0 }));
    const pccsUrl = pcs.url;

    await makeImage(path("images", "dstack-test-dev"));
    const launch = await measureImage(path("images", "dstack-test-dev"));
    const allowed = options.allowedRegisters?.(launch) ?? launch;
    const attestation = {
      pccs_url: pccsUrl,
      insecure_simulated_roots: [path("simulated-root.pem")],
      images: { allowed: [allowedImage("dstack-test-dev", allowed)] },
    };

    await initKms(path("kms"), { commonName: "testbed KMS root CA", altNames: ["127.0.0.1"] });
    const kmsConfig: KmsConfigInput = {
      host: "127.0.0.1",
      port: 0,
      tls: { key: path("kms", "server.key"), certs: path("kms", "server.pem") },
      core: {
        root_ca_cert: path("kms", "root-ca.pem"),
        root_ca_key: path("kms", "root-ca.key"),
        cert_log_dir: path("kms", "log"),
        upgrade_registry_dir: path("kms", "upgrades"),
        require_fresh_evidence: true,
      },
      attestation,
    };
    const kms = stack.use(await startKms(KmsConfig.parse(options.kms?.(kmsConfig) ?? kmsConfig), { log }));

    await issueServerCert(path("kms"), {
      outCert: path("tproxy", "rpc.pem"),
      outKey: path("tproxy", "rpc.key"),
      commonName: "tproxy",
      altNames: ["127.0.0.1"],
    });
    const proxyCa = await makeProxyCertificate(path("proxy"));
    const network = new FakeNetwork();
    const tproxy = stack.use(
      await startTproxy(
        TproxyConfig.parse({
          host: "127.0.0.1",
          port: 0,
          tls: { key: path("tproxy", "rpc.key"), certs: path("tproxy", "rpc.pem") },
          state_dir: path("tproxy", "state"),
          require_fresh_evidence: true,
          wg: {
            private_key_file: path("tproxy", "wg.key"),
            ip: TUNNEL_IP,
            listen_port: 51820,
            client_ip_range: "10.99.0.0/24",
            interface: HUB,
            endpoint: "127.0.0.1:51820",
          },
          proxy: {
            cert_chain: path("proxy", "cert.pem"),
            cert_key: path("proxy", "key.pem"),
            base_domain: BASE_DOMAIN,
            listen_addr: "127.0.0.1",
            listen_port: 0,
          },
          attestation,
        }),
        { log, wireguard: network.open(HUB), dial: ({ host, port }) => network.dial(HUB, host, port) },
      ),
    );

    const hypervisor = new FakeHypervisor(network);
    const teepodDaemon = stack.use(
      await startTeepod(
        TeepodConfig.parse({
          port: 0,
          image_path: path("images"),
          run_path: path("vms"),
          auth: { tokens: [{ role: "operator", token: TEEPOD_TOKEN }] },
          cvm: {
            ca_cert: path("kms", "root-ca.pem"),
            kms_url: kms.url,
            tproxy_url: tproxy.url,
            simulator_seed_file: path("simulator.seed"),
          },
          gateway: { base_domain: BASE_DOMAIN, port: tproxy.proxyPort || 443 },
        }),
        { log, hypervisor, ...(options.page !== undefined && { page: options.page }) },
      ),
    );
    return new Testbed(
      dir,
      platform,
      pccsUrl,
      launch,
      kms,
      tproxy,
      teepodDaemon,
      hypervisor,
      network,
      proxyCa,
      stack.move(),
    );
  }

  /** A client of teepod. */
  get teepod() {
    const headers = { authorization: `Bearer ${TEEPOD_TOKEN}` };
    return createClient(teepod.Teepod, httpTransport({ baseUrl: this.teepodDaemon.url, headers }));
  }

  /** A file of the installation. */
  path(...parts: string[]): string {
    return join(this.dir, ...parts);
  }

  /** Creates a VM for a compose document and waits until its boot has ended one way or the other. */
  async deploy(composeFile: string, options: { appId?: string } = {}): Promise<teepod.VmInfo> {
    const { id } = await this.teepod.createVm({
      name: "hello",
      image: "dstack-test-dev",
      composeFile,
      vcpu: 1,
      memory: 1024,
      diskSize: 1,
      ...options,
    });
    return this.settled(id);
  }

  /** Waits until a VM is ready, or has failed. */
  async settled(id: string): Promise<teepod.VmInfo> {
    const end = Date.now() + 240_000;
    for (;;) {
      const { info } = await this.teepod.getInfo({ id });
      if (info === undefined) throw new Error(`there is no VM ${id}`);
      if (info.bootProgress?.startsWith("ready") === true || info.bootError !== undefined) return info;
      if (info.status === "exited" || info.status === "stopped") return info;
      if (Date.now() > end) throw new Error(`the boot hangs at ${info.bootProgress ?? "its start"}`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }

  /** Stops a VM and starts it again: what was upgraded applies then. */
  async restart(id: string): Promise<teepod.VmInfo> {
    const { info } = await this.teepod.getInfo({ id });
    if (info?.status === "running") await this.teepod.stopVm({ id });
    await this.teepod.startVm({ id });
    return this.settled(id);
  }

  /** A request through tproxy: TLS with this name, checked against the proxy's CA. */
  async fetch(name: string, path = "/"): Promise<{ status: number; body: string }> {
    const host = `${name}.${BASE_DOMAIN}`;
    const agent = new Agent({ connect: { ca: this.proxyCa, servername: host, timeout: 60_000 } });
    try {
      const answer = await request(`https://127.0.0.1:${this.tproxy.proxyPort}${path}`, {
        dispatcher: agent,
        headers: { host },
      });
      return { status: answer.statusCode, body: await answer.body.text() };
    } finally {
      await agent.destroy();
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stack[Symbol.asyncDispose]();
  }
}

/** An image that nothing boots: its files are measured all the same. */
async function makeImage(dir: string): Promise<void> {
  await mkdir(dir);
  const files = { bzImage: "kernel", "initramfs.cpio.zst": "initramfs", "rootfs.img": "root file system" };
  const sha: Record<string, string> = {};
  for (const [name, text] of Object.entries(files)) {
    await writeFile(join(dir, name), text);
    sha[name] = hex(sha256(text));
  }
  const rootfsHash = hex(sha384("rootfs").subarray(0, 32));
  const metadata = JSON.stringify({
    name: "dstack-test-dev",
    version: "0.0.0",
    is_dev: true,
    cmdline: `console=ttyS0 dstack.rootfs_hash=${rootfsHash} dstack.rootfs_size=4096`,
    rootfs_hash: rootfsHash,
    kernel: "bzImage",
    initrd: "initramfs.cpio.zst",
    rootfs: "rootfs.img",
    sha256: sha,
  });
  await writeFile(join(dir, "metadata.json"), metadata);
  sha["metadata.json"] = hex(sha256(metadata));
  await writeFile(
    join(dir, "sha256sum.txt"),
    Object.entries(sha)
      .map(([name, digest]) => `${digest}  ${name}\n`)
      .join(""),
  );
}

async function makeProxyCertificate(dir: string): Promise<string> {
  const authority = await CertificateAuthority.create({ commonName: "testbed proxy CA" });
  const key = generateP256();
  const cert = await authority.issue({
    publicKey: key.publicKey,
    commonName: BASE_DOMAIN,
    altNames: [`*.${BASE_DOMAIN}`],
    usages: ["serverAuth"],
    notAfter: new Date(Date.now() + DAY_MS),
  });
  await writeFile(join(dir, "cert.pem"), cert);
  await writeFile(join(dir, "key.pem"), key.privateKeyPem, { mode: 0o600 });
  return authority.certPem;
}
