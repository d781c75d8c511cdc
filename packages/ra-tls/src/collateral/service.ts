import type { Collateral, CollateralKeys } from "@dstack/attestation";
import { hex } from "@dstack/core";
import type { HttpAnswer } from "./http.js";
import { getWithRetries } from "./retry.js";
import type { RetryParts } from "./retry.js";
import { CollateralError } from "./source.js";

/** Where collateral is fetched. Nothing of it is trusted: what comes is signed. */
export interface CollateralServiceOptions {
  /** Base of Intel's PCS v4, such as `https://api.trustedservices.intel.com`, or of a PCCS, which mirrors it. */
  readonly url: string;
  /** PEM: what the service's TLS certificate must chain to. For a PCCS, which usually signs its own. */
  readonly tlsCa?: string | undefined;
  /**
   * Where the root's revocation list is: PCS has no path for it, it is at the distribution point that Intel's root
   * certificate names. By default there for Intel's host, and at `rootcacrl` of any other service, as a PCCS has it.
   */
  readonly rootCrlUrl?: string | undefined;
  /** Intel's channel of TCB info: `early` tells of a fix on the day it is published, `standard` a year later. */
  readonly update?: "early" | "standard" | undefined;
  readonly parts?: RetryParts | undefined;
}

const INTEL_PCS_HOST = "api.trustedservices.intel.com";
/** The CRL distribution point of Intel's root certificate, the one that `INTEL_ROOT` pins. */
const INTEL_ROOT_CRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";

/** Intel's Provisioning Certification Service v4, or a PCCS. */
export class CollateralService {
  readonly #base: URL;
  readonly #rootCrl: URL;

  /** @throws {TypeError} a URL is none */
  constructor(private readonly options: CollateralServiceOptions) {
    const { url, rootCrlUrl } = options;
    this.#base = new URL(url.endsWith("/") ? url : `${url}/`);
    const isIntel = this.#base.hostname === INTEL_PCS_HOST;
    this.#rootCrl = new URL(
      rootCrlUrl ?? (isIntel ? INTEL_ROOT_CRL : "sgx/certification/v4/rootcacrl"),
      this.#base,
    );
  }

  get host(): string {
    return this.#base.host;
  }

  /**
   * The documents for a platform as the service gives them; nothing is verified.
   * @param keys with an FMSPC of 12 hex digits
   * @throws {CollateralError} `unreachable`, `unknown_platform`, `malformed`
   */
  async fetch(keys: CollateralKeys, now: number, signal: AbortSignal): Promise<Collateral> {
    const tdx = (path: string, query: Record<string, string>): URL => {
      const update = this.options.update === undefined ? {} : { update: this.options.update };
      return this.#url(`tdx/certification/v4/${path}`, { ...query, ...update });
    };
    const stop = new AbortController();
    const get = (url: URL): Promise<HttpAnswer> =>
      this.#get(url, now, AbortSignal.any([signal, stop.signal]));
    const [pckCrl, rootCrl, tcb, qe] = await Promise.all([
      get(this.#url("sgx/certification/v4/pckcrl", { ca: keys.ca, encoding: "der" })),
      get(this.#rootCrl),
      get(tdx("tcb", { fmspc: keys.fmspc.toLowerCase() })),
      get(tdx("qe/identity", {})),
      // One that is missing makes the others useless.
    ]).finally(() => stop.abort());
    const tcbInfo = readSignedJson(tcb.body, "tcbInfo");
    const qeIdentity = readSignedJson(qe.body, "enclaveIdentity");
    return {
      pck_crl_issuer_chain: readChain(pckCrl, ["sgx-pck-crl-issuer-chain"]),
      root_ca_crl: readCrl(rootCrl.body),
      pck_crl: readCrl(pckCrl.body),
      // Intel's name, and the one that some mirrors kept from version 3.
      tcb_info_issuer_chain: readChain(tcb, ["tcb-info-issuer-chain", "sgx-tcb-info-issuer-chain"]),
      tcb_info: tcbInfo.text,
      tcb_info_signature: tcbInfo.signature,
      qe_identity_issuer_chain: readChain(qe, ["sgx-enclave-identity-issuer-chain"]),
      qe_identity: qeIdentity.text,
      qe_identity_signature: qeIdentity.signature,
    };
  }

  #url(path: string, query: Record<string, string>): URL {
    const url = new URL(path, this.#base);
    url.search = new URLSearchParams(query).toString();
    return url;
  }

  async #get(url: URL, now: number, signal: AbortSignal): Promise<HttpAnswer> {
    // The configured CA speaks for the configured service, not for another host.
    const ca = url.origin === this.#base.origin ? this.options.tlsCa : undefined;
    const answer = await getWithRetries(url, { ...this.options.parts, ca, now, signal });
    if (answer.status === 200) return answer;
    const where = `${url.host}${url.pathname}`;
    if (answer.status === 404) {
      throw new CollateralError("unknown_platform", `${where} has no such document: ${url.search || "404"}`);
    }
    const moved = answer.status >= 300 && answer.status < 400;
    const why = moved
      ? `it points to ${answer.headers.location ?? "elsewhere"}; redirects are not followed, configure that URL`
      : `status ${answer.status}`;
    throw new CollateralError("unreachable", `fetching collateral from ${where}: ${why}`);
  }
}

function readChain(answer: HttpAnswer, names: readonly string[]): string {
  for (const name of names) {
    const value = answer.headers[name];
    if (typeof value !== "string") continue;
    try {
      return decodeURIComponent(value);
    } catch {
      throw new CollateralError("malformed", `the header ${name} is not percent-encoded`);
    }
  }
  throw new CollateralError("malformed", `collateral has no header ${names.join(" or ")}`);
}

/** The signed JSON exactly as it was sent: its signature is over the text, not over its meaning. */
function readSignedJson(
  body: Uint8Array,
  field: "tcbInfo" | "enclaveIdentity",
): { text: string; signature: string } {
  const pattern = new RegExp(
    `^\\s*\\{\\s*"${field}"\\s*:\\s*(\\{.*\\})\\s*,\\s*"signature"\\s*:\\s*"([0-9a-fA-F]+)"\\s*\\}\\s*$`,
    "s",
  );
  const [, text, signature] = pattern.exec(Buffer.from(body).toString("utf8")) ?? [];
  if (text === undefined || signature === undefined) {
    throw new CollateralError("malformed", `collateral is not {"${field}": …, "signature": …}`);
  }
  return { text, signature: signature.toLowerCase() };
}

/** PCS answers DER, a PCCS answers hex text: its first character is "3", byte 0x33. */
function readCrl(body: Uint8Array): string {
  if (body[0] === 0x30) return hex(body);
  const text = Buffer.from(body).toString("latin1").trim().toLowerCase();
  if (text.length % 2 !== 0 || !/^30[0-9a-f]+$/.test(text)) {
    throw new CollateralError("malformed", "a revocation list is neither DER nor hex");
  }
  return text;
}
