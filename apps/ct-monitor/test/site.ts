import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PolicyConfig, allowedImage, certificateKeyReportData, runtimeEvent } from "@dstack/attestation";
import { fromHex, hex, sha256 } from "@dstack/core";
import { createApp, listenHttp, silentLogger } from "@dstack/daemon";
import type { Logger } from "@dstack/daemon";
import { CertificateAuthority, PeerVerifier, generateP256, pemToDer } from "@dstack/ra-tls";
import { SimulatedPlatform, bareLaunch, createSimulatedProvider } from "@dstack/tdx-attest";
import { CtMonitorConfig, checkOnce } from "../src/index.js";
import type { CheckResult, CtMonitorConfigInput, CtMonitorParts } from "../src/index.js";
import { startCrtSh } from "./crt-sh-server.js";
import type { CrtShServer } from "./crt-sh-server.js";
import { LogServer } from "./log-server.js";

export const DOMAIN = "app.example.org";
const platform = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(9));
const launch = bareLaunch("ct-monitor tests");
/** Compose document of the real tproxy. */
export const TPROXY_COMPOSE = "tproxy";
export const kmsRoot = await CertificateAuthority.create({ commonName: "KMS root" });
const publicCa = await CertificateAuthority.create({ commonName: "a public CA" });

export interface Issued {
  readonly pem: string;
  readonly der: Uint8Array;
  readonly spki: Uint8Array;
}

/** A certificate of a public CA with a new key. */
export async function issue(names: readonly string[] = [`*.${DOMAIN}`], notAfter?: Date): Promise<Issued> {
  const key = generateP256();
  const pem = await publicCa.issue({
    publicKey: key.publicKey,
    commonName: "x",
    altNames: names,
    usages: ["serverAuth"],
    notBefore: new Date(Date.now() - 10 * 86_400_000),
    notAfter: notAfter ?? new Date(Date.now() + 86_400_000),
  });
  return { pem, der: pemToDer(pem), spki: key.publicKeySpki };
}

/** A quote over a key, by a guest of the tests' platform that runs this compose document. */
async function evidenceFor(spki: Uint8Array, compose: string, kmsCa: string) {
  const appId = sha256(compose).subarray(0, 20);
  const none = new Uint8Array();
  const events = [
    runtimeEvent("system-preparing", none),
    runtimeEvent("rootfs-hash", sha256("rootfs")),
    runtimeEvent("app-id", sha256(TPROXY_COMPOSE).subarray(0, 20)),
    runtimeEvent("compose-hash", sha256(compose)),
    runtimeEvent("upgraded-app-id", appId),
    runtimeEvent("ca-cert-hash", sha256(pemToDer(kmsCa))),
    runtimeEvent("instance-id", fromHex("07".repeat(20))),
    runtimeEvent("boot-mr-done", none),
    runtimeEvent("system-ready", none),
  ];
  const provider = createSimulatedProvider({ platform, launch });
  for (const event of events) await provider.extendRtmr(3, fromHex(event.digest));
  const quote = await provider.getQuote(certificateKeyReportData(spki));
  return { quote: hex(quote), event_log: JSON.stringify([...(await provider.bootEvents()), ...events]) };
}

interface TproxyKey {
  readonly key: string;
  readonly evidence: object | undefined;
}

/** tproxy's `/.dstack/acme-info`, over TLS with a certificate of the KMS's root. */
export interface FakeTproxy extends AsyncDisposable {
  readonly url: string;
  keys: TproxyKey[];
  asked: string[];
  /** Tells a key with evidence, of a guest with this compose document and KMS root. */
  tell(issued: Issued, compose?: string, kmsCa?: string): Promise<void>;
}

export async function startTproxy(): Promise<FakeTproxy> {
  const key = generateP256();
  const cert = await kmsRoot.issue({
    publicKey: key.publicKey,
    commonName: "tproxy",
    altNames: ["127.0.0.1"],
    usages: ["serverAuth"],
    notAfter: new Date(Date.now() + 86_400_000),
  });
  const app = createApp({ log: silentLogger(), tls: { key: key.privateKeyPem, cert } });
  app.get("/.dstack/acme-info", () => {
    tproxy.asked.push("keys");
    return { hist_keys: tproxy.keys.map(({ key: spki }) => spki) };
  });
  app.get<{ Params: { digest: string } }>("/.dstack/acme-info/:digest", async (request, reply) => {
    tproxy.asked.push("evidence");
    const found = tproxy.keys.find(({ key: spki }) => hex(sha256(fromHex(spki))) === request.params.digest);
    return found?.evidence ?? reply.code(404).send({});
  });
  const listener = await listenHttp({ app, address: { host: "127.0.0.1", port: 0 } });
  const tproxy: FakeTproxy = {
    url: `https://127.0.0.1:${listener.port}/prpc`,
    keys: [],
    asked: [],
    async tell({ spki }, compose = TPROXY_COMPOSE, kmsCa = kmsRoot.certPem) {
      tproxy.keys.push({ key: hex(spki), evidence: await evidenceFor(spki, compose, kmsCa) });
    },
    [Symbol.asyncDispose]: () => listener[Symbol.asyncDispose](),
  };
  return tproxy;
}

/** Everything a monitor talks to, and its configuration. */
export class Site implements AsyncDisposable {
  /** Whole lines of the monitor's log. */
  readonly lines: string[] = [];
  private constructor(
    readonly dir: string,
    readonly tproxy: FakeTproxy,
    readonly log: LogServer,
    readonly crtSh: CrtShServer,
  ) {}

  static async start(): Promise<Site> {
    const dir = await mkdtemp(join(tmpdir(), "ct-monitor-"));
    await writeFile(join(dir, "kms-root.pem"), kmsRoot.certPem);
    await writeFile(join(dir, "simulated-root.pem"), platform.rootCertificatePem);
    return new Site(dir, await startTproxy(), await LogServer.start(), await startCrtSh());
  }

  get stateFile(): string {
    return join(this.dir, "state.json");
  }

  input(changes: Partial<CtMonitorConfigInput> = {}): CtMonitorConfigInput {
    return {
      tproxy_url: this.tproxy.url,
      tproxy_ca: join(this.dir, "kms-root.pem"),
      domain: DOMAIN,
      state_file: this.stateFile,
      grace_secs: 0,
      tproxy_compose_hashes: [hex(sha256(TPROXY_COMPOSE))],
      crt_sh: { enabled: false },
      log: [{ url: this.log.url, public_key: this.log.publicKey, start: "beginning" }],
      attestation: {
        insecure_simulated_roots: [join(this.dir, "simulated-root.pem")],
        images: { allowed: [allowedImage("tests", launch)] },
      },
      ...changes,
    };
  }

  config(changes: Partial<CtMonitorConfigInput> = {}): CtMonitorConfig {
    return CtMonitorConfig.parse(this.input(changes));
  }

  /** Evidence is verified by the real verifier, with collateral at hand. */
  async parts(): Promise<CtMonitorParts> {
    const policy = PolicyConfig.parse({
      insecure_simulated_roots: ["root.pem"],
      images: { allowed: [allowedImage("tests", launch)] },
    });
    const verifier = await PeerVerifier.create({
      anchors: [{ kind: "simulated", sha256: platform.rootSha256 }],
      policy,
      collateral: { get: async (_keys, now) => platform.collateral(now) },
    });
    return { verifier, log: this.#logger() };
  }

  async check(changes: Partial<CtMonitorConfigInput> = {}, parts: CtMonitorParts = {}): Promise<CheckResult> {
    const signal = new AbortController().signal;
    return checkOnce(this.config(changes), signal, { ...(await this.parts()), ...parts });
  }

  #logger(): Logger {
    const quiet = silentLogger();
    const note = (fields: unknown, sentence?: string): void =>
      void this.lines.push(`${sentence ?? ""} ${JSON.stringify(fields)}`);
    return Object.assign(quiet, { info: note, warn: note, error: note });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.tproxy[Symbol.asyncDispose]();
    await this.log[Symbol.asyncDispose]();
    await this.crtSh[Symbol.asyncDispose]();
    await rm(this.dir, { recursive: true, force: true });
  }
}
