import { createServer } from "node:http";
import type { IncomingMessage } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import type { AddressInfo, Server } from "node:net";
import { once } from "node:events";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createServer as createTlsServer } from "node:tls";
import type { TlsOptions } from "node:tls";
import { runtimeEvent } from "@dstack/attestation";
import { fromHex, hex, parseAppId, sha256, utf8 } from "@dstack/core";
import { createRaTlsCertificate, generateP256 } from "@dstack/ra-tls";
import type { P256KeyPair, QuoteSource } from "@dstack/ra-tls";
import {
  SimulatedPlatform,
  createSimulatedProvider,
  measureImage,
  startSimulatedPcs,
} from "@dstack/tdx-attest";
import type { SimulatedPcs, SimulatedProvider, SimulatedProviderParts } from "@dstack/tdx-attest";
import { Command } from "commander";
import { vi } from "vitest";
import { registerVerify } from "../../src/commands/verify.js";
import { CliError } from "../../src/output.js";
import { appReportData } from "../../src/verify/quote-file.js";
import type { Report } from "../../src/verify/report.js";

export const NONCE = "00ff".repeat(16);
export const COMPOSE = JSON.stringify({ name: "hello", docker_compose_file: "services: {}" });
export const COMPOSE_HASH = hex(sha256(utf8(COMPOSE)));
export const APP_ID = COMPOSE_HASH.slice(0, 40);
export const INSTANCE_ID = hex(sha256("instance").subarray(0, 20));
export const OTHER_ID = "11".repeat(20);
const KMS_CA = sha256("KMS CA");

/** A guest that has booted, with its event log. */
export interface Guest {
  readonly provider: SimulatedProvider;
  readonly eventLog: string;
}

export interface GuestOptions {
  readonly parts?: Partial<SimulatedProviderParts>;
  /** An app id that its compose document does not give: the app was upgraded. */
  readonly appId?: string;
  readonly keyProvider?: string;
  /** SHA-256 of its KMS's CA certificate. */
  readonly caCertHash?: Uint8Array;
  readonly ready?: boolean;
}

export interface CertificateOptions {
  readonly key?: P256KeyPair;
  readonly guest?: { readonly provider: QuoteSource; readonly eventLog: string };
  /** The app that the certificate names beside its evidence. */
  readonly appId?: string;
  /** Seconds from now. */
  readonly from?: number;
  readonly to?: number;
}

/** A simulated platform, an image, and files as people keep them. */
export class Site implements AsyncDisposable {
  private constructor(
    readonly dir: string,
    readonly platform: SimulatedPlatform,
    readonly pcs: SimulatedPcs,
    readonly launch: Awaited<ReturnType<typeof measureImage>>,
  ) {}

  static async open(): Promise<Site> {
    const dir = await mkdtemp(join(tmpdir(), "dstack-verify-"));
    const image = join(dir, "dstack-test");
    await mkdir(image);
    await writeFile(join(image, "kernel"), "kernel");
    await writeFile(join(image, "initrd"), "initrd");
    await writeFile(
      join(image, "metadata.json"),
      JSON.stringify({ cmdline: "console=ttyS0", kernel: "kernel", initrd: "initrd" }),
    );
    const platform = SimulatedPlatform.fromSeed(sha256("verify tests"));
    await writeFile(join(dir, "root.pem"), platform.rootCertificatePem);
    await writeFile(join(dir, "app-compose.json"), COMPOSE);
    const pcs = await startSimulatedPcs({ platform });
    return new Site(dir, platform, pcs, await measureImage(image));
  }

  path(name: string): string {
    return join(this.dir, name);
  }

  async write(name: string, content: string | Uint8Array): Promise<string> {
    await writeFile(this.path(name), content);
    return this.path(name);
  }

  /** Options under which {@link guest} is what it must be. */
  get trusting(): string[] {
    return ["--simulated-root", this.path("root.pem"), "--pccs-url", this.pcs.url];
  }

  get image(): string[] {
    return ["--image", this.path("dstack-test")];
  }

  get compose(): string[] {
    return ["--compose", this.path("app-compose.json")];
  }

  get all(): string[] {
    return [...this.trusting, ...this.image, ...this.compose];
  }

  async guest({
    parts = {},
    appId = APP_ID,
    keyProvider,
    caCertHash = KMS_CA,
    ready = true,
  }: GuestOptions = {}): Promise<Guest> {
    const provider = createSimulatedProvider({ platform: this.platform, launch: this.launch, ...parts });
    const none = new Uint8Array();
    const events = [
      runtimeEvent("system-preparing", none),
      runtimeEvent("rootfs-hash", sha256("rootfs")),
      runtimeEvent("app-id", fromHex(appId)),
      runtimeEvent("compose-hash", fromHex(COMPOSE_HASH)),
      runtimeEvent("upgraded-app-id", fromHex(COMPOSE_HASH.slice(0, 40))),
      runtimeEvent("ca-cert-hash", caCertHash),
      runtimeEvent("instance-id", fromHex(INSTANCE_ID)),
      runtimeEvent("boot-mr-done", none),
      ...(keyProvider === undefined ? [] : [runtimeEvent("key-provider", utf8(keyProvider))]),
      ...(ready ? [runtimeEvent("system-ready", none)] : []),
    ];
    for (const event of events) await provider.extendRtmr(3, fromHex(event.digest));
    return { provider, eventLog: JSON.stringify([...(await provider.bootEvents()), ...events]) };
  }

  /** What `TdxQuote?json` answers for {@link NONCE}. */
  async answer(options: GuestOptions = {}, nonce = NONCE): Promise<{ quote: string; event_log: string }> {
    const { provider, eventLog } = await this.guest(options);
    return { quote: hex(await provider.getQuote(appReportData(fromHex(nonce)))), event_log: eventLog };
  }

  /** An RA-TLS certificate of a guest and the key it is for. */
  async certificate(options: CertificateOptions = {}): Promise<{ cert: string; key: P256KeyPair }> {
    const { key = generateP256(), guest = await this.guest(), from = -60, to = 3600, appId } = options;
    const at = (seconds: number): Date => new Date(Date.now() + seconds * 1000);
    const { certPem } = await createRaTlsCertificate({
      key: key.privateKey,
      provider: guest.provider,
      eventLog: guest.eventLog,
      commonName: "guest",
      ...(appId === undefined ? {} : { appId: parseAppId(appId) }),
      notBefore: at(from),
      notAfterMs: at(to).getTime(),
    });
    return { cert: certPem, key };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.pcs[Symbol.asyncDispose]();
    await rm(this.dir, { recursive: true, force: true });
  }
}

export interface Listening extends AsyncDisposable {
  readonly port: number;
  readonly url: string;
}

/** A TLS server that ends each connection after the handshake. */
export async function serveTls(options: TlsOptions): Promise<Listening> {
  const server = createTlsServer({ minVersion: "TLSv1.3", ...options }, (socket) => socket.end());
  server.on("tlsClientError", () => undefined);
  return listening(server);
}

/** An HTTPS server, as the proxy is one: its certificate is its own. */
export async function serveHttps(
  options: TlsOptions,
  answer: (request: IncomingMessage) => Promise<string | undefined> | string | undefined,
): Promise<Listening> {
  const server = createHttpsServer(options, (request, response) => {
    void Promise.resolve(answer(request)).then((body) => {
      response.writeHead(body === undefined ? 404 : 200).end(body);
    });
  });
  return listening(server);
}

/** A server that speaks no TLS. */
export function servePlain(): Promise<Listening> {
  return listening(createServer((_, response) => response.end()));
}

async function listening(server: Server): Promise<Listening> {
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return {
    port,
    url: `https://127.0.0.1:${port}/`,
    async [Symbol.asyncDispose]() {
      server.close();
      if ("closeAllConnections" in server) (server as { closeAllConnections(): void }).closeAllConnections();
    },
  };
}

export interface Outcome {
  readonly code: number;
  /** What went to stdout, or the one sentence of the error. */
  readonly out: string;
}

/** Runs `dstack verify` in this process. */
export async function verify(...args: string[]): Promise<Outcome> {
  const program = new Command().option("--json").option("--home <dir>").exitOverride();
  registerVerify(program);
  let out = "";
  const stdout = vi.spyOn(process.stdout, "write").mockImplementation((text) => {
    out += String(text);
    return true;
  });
  try {
    await program.parseAsync(["verify", ...args], { from: "user" });
    return { code: Number(process.exitCode), out };
  } catch (err) {
    if (!(err instanceof CliError)) throw err;
    return { code: err.exitCode, out: err.message };
  } finally {
    stdout.mockRestore();
    process.exitCode = 0;
  }
}

export async function verifyJson(...args: string[]): Promise<Report> {
  const { out } = await verify("--json", ...args);
  return JSON.parse(out) as Report;
}
