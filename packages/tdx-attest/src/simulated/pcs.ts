import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { Collateral } from "@dstack/attestation";
import { fromHex } from "@dstack/core";
import { close, listen } from "./http.js";
import type { TlsIdentity } from "./http.js";
import type { SimulatedPlatform } from "./platform.js";

export interface SimulatedPcsOptions {
  readonly platform: SimulatedPlatform;
  /** Default loopback. */
  readonly host?: string | undefined;
  /** Default a free one. */
  readonly port?: number | undefined;
  /**
   * Which service it is in detail. `pcs`: as Intel's, the root CRL as DER at {@link ROOT_CRL_PATH} only. `pccs`: as a
   * mirror, CRLs as hex, the root's at `rootcacrl`, and the header of TCB info under its older name. By default Intel's
   * paths with the root CRL of a mirror.
   */
  readonly flavour?: "pcs" | "pccs" | undefined;
  /** Serve HTTPS with this identity. */
  readonly tls?: TlsIdentity | undefined;
  /** Sees each request first; `true` says that it has answered, or never will. For tests of bad services. */
  readonly intercept?: ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined;
  /** Unix time in seconds that collateral is issued for; default the clock. */
  readonly now?: (() => number) | undefined;
}

export interface SimulatedPcs extends AsyncDisposable {
  /** `http://<host>:<port>` */
  readonly url: string;
  readonly port: number;
}

interface Answer {
  readonly type: string;
  readonly body: string | Uint8Array;
  readonly chain?: readonly [header: string, pem: string];
}

/** Where Intel's distribution point has the root CRL; in reality on another host than the PCS. */
const ROOT_CRL_PATH = "/IntelSGXRootCA.der";

/**
 * Serves a platform's collateral over HTTP on the paths and with the headers of Intel's Provisioning Certification
 * Service v4, and the root CRL as its caches (PCCS) do.
 */
export async function startSimulatedPcs(options: SimulatedPcsOptions): Promise<SimulatedPcs> {
  const host = options.host ?? "127.0.0.1";
  const now = options.now ?? (() => Math.floor(Date.now() / 1000));
  const answerTo = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    if (options.intercept?.(request, response) === true) return;
    const url = new URL(request.url ?? "/", "http://pcs");
    const answer = request.method === "GET" ? route(url, options, now()) : undefined;
    if (answer === undefined) {
      response.writeHead(404, { "content-type": "text/plain" }).end("not found");
      return;
    }
    response.setHeader("content-type", answer.type);
    if (answer.chain !== undefined) response.setHeader(answer.chain[0], encodeURIComponent(answer.chain[1]));
    response.end(answer.body);
  };
  const server = await listen({ host, port: options.port ?? 0 }, answerTo, options.tls);
  const { port } = server.address() as AddressInfo;
  const scheme = options.tls === undefined ? "http" : "https";
  return { url: `${scheme}://${host}:${port}`, port, [Symbol.asyncDispose]: () => close(server) };
}

function route(url: URL, { platform, flavour }: SimulatedPcsOptions, now: number): Answer | undefined {
  const query = url.searchParams;
  switch (url.pathname) {
    case "/sgx/certification/v4/pckcrl":
      return query.get("ca") === platform.ca
        ? pckCrl(platform.collateral(now), flavour === "pccs" ? "hex" : query.get("encoding"))
        : undefined;
    case "/sgx/certification/v4/rootcacrl":
      return flavour === "pcs"
        ? undefined
        : { type: "application/x-pem-file", body: platform.collateral(now).root_ca_crl };
    case ROOT_CRL_PATH:
      return flavour === "pcs" ? { type: "application/pkix-crl", body: platform.rootCrl(now) } : undefined;
    case "/tdx/certification/v4/tcb":
      return query.get("fmspc")?.toUpperCase() === platform.fmspc
        ? tcb(
            platform.collateral(now),
            flavour === "pccs" ? "SGX-TCB-Info-Issuer-Chain" : "TCB-Info-Issuer-Chain",
          )
        : undefined;
    case "/tdx/certification/v4/qe/identity":
      return qe(platform.collateral(now));
    default:
      return undefined;
  }
}

function pckCrl(collateral: Collateral, encoding: string | null): Answer {
  const crl = fromHex(collateral.pck_crl);
  const chain = ["SGX-PCK-CRL-Issuer-Chain", collateral.pck_crl_issuer_chain] as const;
  if (encoding === "hex") return { type: "application/x-pem-file", body: collateral.pck_crl, chain };
  if (encoding === "der") return { type: "application/pkix-crl", body: crl, chain };
  const lines =
    Buffer.from(crl)
      .toString("base64")
      .match(/.{1,64}/g) ?? [];
  const body = `-----BEGIN X509 CRL-----\n${lines.join("\n")}\n-----END X509 CRL-----\n`;
  return { type: "application/x-pem-file", body, chain };
}

// The signed documents are put in as text: parsing and writing them again could change the bytes that were signed.
function tcb(collateral: Collateral, header: string): Answer {
  return {
    type: "application/json",
    body: `{"tcbInfo":${collateral.tcb_info},"signature":"${collateral.tcb_info_signature}"}`,
    chain: [header, collateral.tcb_info_issuer_chain],
  };
}

function qe(collateral: Collateral): Answer {
  return {
    type: "application/json",
    body: `{"enclaveIdentity":${collateral.qe_identity},"signature":"${collateral.qe_identity_signature}"}`,
    chain: ["SGX-Enclave-Identity-Issuer-Chain", collateral.qe_identity_issuer_chain],
  };
}
