import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Collateral } from "@dstack/attestation";
import { CodedError, errorMessage, hex, readRegularFileIfAny, writeFileAtomic } from "@dstack/core";
import { z } from "zod";
import { x509 } from "./x509.js";

/** What selects collateral: read from a quote with `quoteCollateralKeys`. */
export interface CollateralKeys {
  /** 12 hex digits. */
  readonly fmspc: string;
  readonly ca: "platform" | "processor";
}

/** Anything that gives collateral; tests and offline tools have their own. */
export interface CollateralSource {
  /** @param now Unix seconds */
  get(keys: CollateralKeys, now: number): Promise<Collateral>;
}

/** Collateral could not be had, and no cached one is still valid. */
export class CollateralError extends CodedError<"unreachable" | "malformed" | "expired" | "busy"> {
  override name = "CollateralError";
  readonly rpcCode = "unavailable";
}

export interface CollateralClientOptions {
  /** Base of a service with Intel's PCS v4 paths, such as `https://api.trustedservices.intel.com` or a PCCS. */
  readonly url: string;
  /** Keeps collateral over a restart. Nothing in it is trusted: collateral is signed. */
  readonly cacheDir?: string;
  readonly fetch?: typeof fetch;
  /**
   * Throws for collateral that nobody trusted has signed. Without it an answer by whoever is on the way to the service
   * takes the place of good collateral until the next refresh.
   */
  readonly check?: (collateral: Collateral) => void;
  /** Told when a refresh failed while the cached collateral is still valid. */
  readonly onRefreshError?: (err: unknown, keys: CollateralKeys) => void;
}

/** Age from which cached collateral, though valid, is fetched again in the background: revocations come through it. */
const REFRESH_AFTER_S = 3600;
/** A failed fetch is not repeated for this long: quotes that nobody has checked yet choose what is fetched. */
const RETRY_AFTER_S = 15;
/** FMSPCs kept. A site has a handful; unchecked quotes could name any number. */
const MAX_ENTRIES = 64;
const MAX_FETCHES = 8;
/** TCB info takes about 10 KB, a CRL 3. */
const MAX_BODY_BYTES = 1024 * 1024;
const FETCH_LIMIT_MS = 10_000;

/** Intel's PCS has no path for the root CRL; its place is named in Intel's root certificate. */
const INTEL_PCS_HOST = "api.trustedservices.intel.com";
const INTEL_ROOT_CRL = "https://certificates.trustedservices.intel.com/IntelSGXRootCA.der";

const CollateralFields = z.object({
  pck_crl_issuer_chain: z.string(),
  root_ca_crl: z.string(),
  pck_crl: z.string(),
  tcb_info_issuer_chain: z.string(),
  tcb_info: z.string(),
  tcb_info_signature: z.string(),
  qe_identity_issuer_chain: z.string(),
  qe_identity: z.string(),
  qe_identity_signature: z.string(),
});

const CacheFile = z.object({ fetched_at: z.int(), collateral: CollateralFields });

interface Entry {
  readonly collateral: Collateral;
  /** Unix seconds. */
  readonly fetchedAt: number;
  /** Unix seconds: the first `nextUpdate` of its parts. */
  readonly expiresAt: number;
}

/**
 * Fetches collateral and keeps it in memory and on disk until its first part expires; refreshed ahead in the
 * background. What it is given is for `verifyQuote` to judge; `check` only keeps rubbish out of the cache.
 */
export class CollateralClient implements CollateralSource {
  readonly #base: URL;
  readonly #fetch: typeof fetch;
  readonly #entries = new Map<string, Entry>();
  readonly #inFlight = new Map<string, Promise<Entry>>();
  readonly #failures = new Map<string, { at: number; error: unknown }>();

  /** @throws {TypeError} the URL is none */
  constructor(private readonly options: CollateralClientOptions) {
    this.#base = new URL(options.url.endsWith("/") ? options.url : `${options.url}/`);
    this.#fetch = options.fetch ?? fetch;
  }

  /**
   * Collateral for a platform.
   * @param now Unix seconds
   * @throws {CollateralError} none that is valid now could be had
   */
  async get(keys: CollateralKeys, now: number): Promise<Collateral> {
    const name = cacheName(keys);
    const cached = this.#entries.get(name) ?? (await this.#load(keys));
    if (cached !== undefined && now < cached.expiresAt) {
      if (now - cached.fetchedAt >= REFRESH_AFTER_S) {
        this.#refresh(keys, now).catch((err: unknown) => this.options.onRefreshError?.(err, keys));
      }
      return cached.collateral;
    }
    const fresh = await this.#refresh(keys, now);
    return fresh.collateral;
  }

  #refresh(keys: CollateralKeys, now: number): Promise<Entry> {
    const name = cacheName(keys);
    const running = this.#inFlight.get(name);
    if (running !== undefined) return running;
    const failure = this.#failures.get(name);
    if (failure !== undefined && Math.abs(now - failure.at) < RETRY_AFTER_S)
      return Promise.reject(failure.error);
    if (this.#inFlight.size >= MAX_FETCHES) {
      return Promise.reject(new CollateralError("busy", "fetching collateral: too many platforms at once"));
    }
    const fetching = this.#fetchAndKeep(keys, now).then(
      (entry) => {
        this.#failures.delete(name);
        return entry;
      },
      (err: unknown) => {
        keep(this.#failures, name, { at: now, error: err });
        throw err;
      },
    );
    const tracked = fetching.finally(() => this.#inFlight.delete(name));
    this.#inFlight.set(name, tracked);
    return tracked;
  }

  async #fetchAndKeep(keys: CollateralKeys, now: number): Promise<Entry> {
    const collateral = await this.#fetchAll(keys);
    this.#check(collateral);
    const expiresAt = earliestUpdate(collateral);
    if (expiresAt <= now) {
      throw new CollateralError("expired", `collateral from ${this.#base.host} is past its next update`, {
        ...keys,
      });
    }
    const entry = { collateral, fetchedAt: now, expiresAt };
    keep(this.#entries, cacheName(keys), entry);
    if (this.options.cacheDir !== undefined) {
      await mkdir(this.options.cacheDir, { recursive: true });
      const text = JSON.stringify({ fetched_at: now, collateral });
      await writeFileAtomic(join(this.options.cacheDir, `${cacheName(keys)}.json`), text);
    }
    return entry;
  }

  #check(collateral: Collateral): void {
    try {
      this.options.check?.(collateral);
    } catch (err) {
      throw new CollateralError(
        "malformed",
        `collateral from ${this.#base.host} is not genuine: ${errorMessage(err)}`,
        {},
        { cause: err },
      );
    }
  }

  async #load(keys: CollateralKeys): Promise<Entry | undefined> {
    if (this.options.cacheDir === undefined) return undefined;
    try {
      const path = join(this.options.cacheDir, `${cacheName(keys)}.json`);
      const bytes = await readRegularFileIfAny(path, 8 * MAX_BODY_BYTES);
      if (bytes === undefined) return undefined;
      const { fetched_at, collateral } = CacheFile.parse(JSON.parse(Buffer.from(bytes).toString("utf8")));
      this.#check(collateral);
      const entry = { collateral, fetchedAt: fetched_at, expiresAt: earliestUpdate(collateral) };
      keep(this.#entries, cacheName(keys), entry);
      return entry;
    } catch (err) {
      // A cache that cannot be read is as good as none: it is fetched again and overwritten.
      this.options.onRefreshError?.(err, keys);
      return undefined;
    }
  }

  async #fetchAll(keys: CollateralKeys): Promise<Collateral> {
    const [pckCrl, rootCrl, tcb, qe] = await Promise.all([
      this.#request(`sgx/certification/v4/pckcrl?ca=${keys.ca}&encoding=der`),
      this.#request(this.#base.host === INTEL_PCS_HOST ? INTEL_ROOT_CRL : "sgx/certification/v4/rootcacrl"),
      this.#request(`tdx/certification/v4/tcb?fmspc=${keys.fmspc}`),
      this.#request("tdx/certification/v4/qe/identity"),
    ]);
    const tcbInfo = signedJson(tcb.body, "tcbInfo");
    const qeIdentity = signedJson(qe.body, "enclaveIdentity");
    return {
      pck_crl_issuer_chain: pckCrl.chain("SGX-PCK-CRL-Issuer-Chain"),
      root_ca_crl: crlHex(rootCrl.body),
      pck_crl: crlHex(pckCrl.body),
      // Intel's name, and the one older mirrors kept from SGX.
      tcb_info_issuer_chain: tcb.chain("TCB-Info-Issuer-Chain", "SGX-TCB-Info-Issuer-Chain"),
      tcb_info: tcbInfo.text,
      tcb_info_signature: tcbInfo.signature,
      qe_identity_issuer_chain: qe.chain("SGX-Enclave-Identity-Issuer-Chain"),
      qe_identity: qeIdentity.text,
      qe_identity_signature: qeIdentity.signature,
    };
  }

  async #request(path: string): Promise<{ body: Uint8Array; chain: (...names: string[]) => string }> {
    const url = new URL(path, this.#base);
    const what = `${url.host}${url.pathname}`;
    let response: Response;
    let body: Uint8Array;
    try {
      response = await this.#fetch(url, { redirect: "error", signal: AbortSignal.timeout(FETCH_LIMIT_MS) });
      body = await readBody(response);
    } catch (err) {
      throw new CollateralError(
        "unreachable",
        `fetching collateral from ${what}: ${errorMessage(err)}`,
        {},
        { cause: err },
      );
    }
    if (response.status !== 200) {
      throw new CollateralError("unreachable", `fetching collateral from ${what}: status ${response.status}`);
    }
    const chain = (...names: string[]): string => {
      for (const name of names) {
        const value = response.headers.get(name);
        if (value !== null) return percentDecode(value);
      }
      throw new CollateralError("malformed", `collateral from ${what} has no issuer chain`);
    };
    return { body, chain };
  }
}

function cacheName(keys: CollateralKeys): string {
  // The name goes into a path and a URL.
  if (!/^[0-9a-f]{12}$/i.test(keys.fmspc))
    throw new CollateralError("malformed", "fmspc must be 12 hex digits");
  return `${keys.fmspc.toLowerCase()}-${keys.ca}`;
}

function keep<T>(map: Map<string, T>, name: string, value: T): void {
  map.delete(name);
  for (const oldest of map.keys()) {
    if (map.size < MAX_ENTRIES) break;
    map.delete(oldest);
  }
  map.set(name, value);
}

async function readBody(response: Response): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of response.body ?? []) {
    length += chunk.length;
    if (length > MAX_BODY_BYTES) throw new Error(`answer is larger than ${MAX_BODY_BYTES} bytes`);
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

function percentDecode(value: string): string {
  try {
    return decodeURIComponent(value);
  } catch (err) {
    throw new CollateralError(
      "malformed",
      "collateral issuer chain is not percent-encoded",
      {},
      { cause: err },
    );
  }
}

/** The signed JSON exactly as it was sent: its signature is over the text, not over its meaning. */
function signedJson(
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

/** PCS answers DER, a PCCS answers hex text. */
function crlHex(body: Uint8Array): string {
  // Hex text of a CRL starts with "3": byte 0x33.
  if (body[0] === 0x30) return hex(body);
  const text = Buffer.from(body).toString("latin1").trim();
  if (!/^(?:[0-9a-fA-F]{2})+$/.test(text))
    throw new CollateralError("malformed", "CRL is neither DER nor hex");
  return text.toLowerCase();
}

const NextUpdate = z.object({ nextUpdate: z.iso.datetime() });

function earliestUpdate(collateral: Collateral): number {
  try {
    const times = [collateral.tcb_info, collateral.qe_identity].map((text) =>
      Date.parse(NextUpdate.parse(JSON.parse(text)).nextUpdate),
    );
    for (const crl of [collateral.root_ca_crl, collateral.pck_crl]) {
      const { nextUpdate } = new x509.X509Crl(Buffer.from(crl, "hex"));
      if (nextUpdate === undefined) throw new Error("a CRL has no next update");
      times.push(nextUpdate.getTime());
    }
    return Math.floor(Math.min(...times) / 1000);
  } catch (err) {
    if (err instanceof CollateralError) throw err;
    throw new CollateralError(
      "malformed",
      `collateral cannot be read: ${errorMessage(err)}`,
      {},
      { cause: err },
    );
  }
}
