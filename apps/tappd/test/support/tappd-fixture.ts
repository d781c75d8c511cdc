import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { appIdOfCompose, fromHex, hex, parseInstanceId, sha256, utf8 } from "@dstack/core";
import type { AppId, InstanceId } from "@dstack/core";
import { ResourceStack, silentLogger } from "@dstack/daemon";
import {
  CertificateAuthority,
  deriveAppKey,
  deriveK256AppKey,
  deriveK256Root,
  generateP256,
  k256PublicKey,
} from "@dstack/ra-tls";
import { RuntimeEventLog, SimulatedPlatform, createSimulatedProvider } from "@dstack/tdx-attest";
import type { QuoteProvider } from "@dstack/tdx-attest";
import { TappdConfig, startTappd } from "../../src/index.js";
import type { Tappd, TappdParts } from "../../src/index.js";
import { FakeEngine } from "./fake-engine.js";

export const rootfsHash = "ab".repeat(32);
export const platform = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(7));

export interface FixtureOptions {
  compose?: Record<string, unknown>;
  /** Leave the boot before `system-ready`. */
  notReady?: boolean;
  /** The KMS issues no secp256k1 key. */
  noK256?: boolean;
  core?: Record<string, unknown>;
  /** In place of a simulated trust domain in this process. */
  provider?: QuoteProvider;
  wrapProvider?: (provider: QuoteProvider) => QuoteProvider;
  parts?: Partial<TappdParts>;
  /** Compose document on disk, where it should differ from the measured one. */
  composeOnDisk?: string;
  keysOnDisk?: Record<string, unknown>;
}

/** A booted guest around a tappd: directory, simulated platform, measured events, keys of a KMS. */
export interface Guest extends AsyncDisposable {
  readonly dir: string;
  readonly appId: AppId;
  readonly instanceId: InstanceId;
  readonly composeText: string;
  readonly engine: FakeEngine;
  readonly provider: QuoteProvider;
  readonly kms: { ca: CertificateAuthority; k256Root: Uint8Array };
  readonly config: TappdConfig;
  /** Starts a tappd on this guest; the guest disposes it. */
  start(): Promise<Tappd>;
}

export async function bootGuest(options: FixtureOptions = {}): Promise<Guest> {
  await using stack = new ResourceStack();
  const dir = await mkdtemp(join(tmpdir(), "tappd-"));
  stack.defer(() => rm(dir, { recursive: true, force: true }));
  const composeText = JSON.stringify({ manifest_version: 1, name: "hello", ...options.compose });
  const appId = appIdOfCompose(utf8(composeText));
  const instanceId = parseInstanceId(hex(randomBytes(20)));

  const rootKey = generateP256().privateKey;
  const ca = await CertificateAuthority.create({ commonName: "KMS root", key: rootKey });
  const provider = options.provider ?? createSimulatedProvider({ platform });
  const eventLogPath = join(dir, "log", "events.log");
  const events = await RuntimeEventLog.open({ provider, path: eventLogPath });
  const composeHash = sha256(utf8(composeText));
  await events.extend("system-preparing", new Uint8Array());
  await events.extend("rootfs-hash", fromHex(rootfsHash));
  await events.extend("app-id", fromHex(appId));
  await events.extend("compose-hash", composeHash);
  await events.extend("upgraded-app-id", composeHash.subarray(0, 20));
  await events.extend("ca-cert-hash", sha256(ca.certDer));
  await events.extend("instance-id", fromHex(instanceId));
  await events.extend("boot-mr-done", new Uint8Array());
  await events.extend("key-provider", utf8(JSON.stringify({ name: "kms", id: hex(ca.publicKeySpki) })));
  if (options.notReady !== true) await events.extend("system-ready", new Uint8Array());

  const k256Root = deriveK256Root(rootKey);
  const k256 = deriveK256AppKey(k256Root, appId);
  const appKey = deriveAppKey(rootKey, appId);
  const appCa = await ca.issue({
    publicKey: appKey.publicKey,
    commonName: appId,
    ca: { pathLength: 0 },
    notAfter: new Date(Date.now() + 3650 * 86_400_000),
  });
  const keys = {
    app_id: appId,
    instance_id: instanceId,
    app_key: appKey.privateKeyPem,
    certificate_chain: [appCa, ca.certPem],
    disk_crypt_key: "00".repeat(32),
    ...(options.noK256 === true ? {} : { k256_key: hex(k256.key), k256_signature: hex(k256.signature) }),
    ...options.keysOnDisk,
  };
  await writeFile(join(dir, "appkeys.json"), JSON.stringify(keys), { mode: 0o600 });
  await writeFile(join(dir, "app-compose.json"), options.composeOnDisk ?? composeText);

  const config = TappdConfig.parse({
    core: {
      keys_file: join(dir, "appkeys.json"),
      app_compose_file: join(dir, "app-compose.json"),
      event_log: eventLogPath,
      vm_config: JSON.stringify({ os_image_hash: "cd".repeat(32), vcpu: 2 }),
      ...options.core,
    },
    sockets: {
      tappd: join(dir, "tappd.sock"),
      dstack: join(dir, "dstack.sock"),
      scoped_dir: join(dir, "scoped"),
    },
    external: { host: "127.0.0.1", port: 0, tls_port: 0 },
    docker_socket: join(dir, "docker.sock"),
  });
  const engine = new FakeEngine();
  const running = stack.move();
  const used = options.wrapProvider?.(provider) ?? provider;
  return {
    dir,
    appId,
    instanceId,
    composeText,
    engine,
    provider,
    kms: { ca, k256Root: k256PublicKey(k256Root) },
    config,
    start: async () =>
      running.use(
        await startTappd(config, { provider: used, docker: engine, log: silentLogger(), ...options.parts }),
      ),
    [Symbol.asyncDispose]: () => running[Symbol.asyncDispose](),
  };
}
