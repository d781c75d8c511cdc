import type { Collateral } from "@dstack/attestation";
import { SimulatedPlatform, startSimulatedPcs } from "@dstack/tdx-attest";
import type { SimulatedPcsOptions, SimulatedPlatformOptions } from "@dstack/tdx-attest";
import type { IncomingMessage, ServerResponse } from "node:http";
import { afterEach } from "vitest";
import { CollateralClient } from "../../src/index.js";
import type { CollateralClientOptions, CollateralEvent } from "../../src/index.js";
import { NOW } from "../guest.js";

export { NOW } from "../guest.js";
export const HOUR = 3600;
export const DAY = 24 * HOUR;

const SEED = new Uint8Array(32).fill(1);
/** The platform of these tests, with changes that keep its root and keys. */
export const platformWith = (options: SimulatedPlatformOptions = {}): SimulatedPlatform =>
  SimulatedPlatform.fromSeed(SEED, options);
export const platform = platformWith();
export const keys = { fmspc: platform.fmspc.toLowerCase(), ca: "platform" } as const;
export const anchors = [{ kind: "simulated", sha256: platform.rootSha256 }] as const;

type Intercept = (request: IncomingMessage, response: ServerResponse) => boolean;

export interface Service {
  readonly url: string;
  readonly requests: string[];
  /** What it serves, and as of when: a test changes these while it runs. */
  platform: SimulatedPlatform;
  now: number;
  intercept: Intercept | undefined;
}

const running: AsyncDisposable[] = [];
afterEach(async () => {
  for (const one of running.splice(0)) await one[Symbol.asyncDispose]();
});

/** The simulated PCS on a free port, over real HTTP. */
export async function startService(
  options: Pick<SimulatedPcsOptions, "flavour" | "tls"> = {},
): Promise<Service> {
  const requests: string[] = [];
  const state: Omit<Service, "url"> = { requests, platform, now: NOW, intercept: undefined };
  const pcs = await startSimulatedPcs({
    ...options,
    get platform() {
      return state.platform;
    },
    now: () => state.now,
    intercept: (request, response) => {
      requests.push(request.url ?? "");
      return state.intercept?.(request, response) ?? false;
    },
  });
  running.push(pcs);
  return Object.assign(state, { url: pcs.url });
}

export const status =
  (code: number, headers: Record<string, string> = {}): Intercept =>
  (_request, response) => {
    response.writeHead(code, headers).end();
    return true;
  };
export const down = status(503);

/** Answers one path with something else. */
export const only =
  (part: string, intercept: Intercept): Intercept =>
  (request, response) =>
    (request.url ?? "").includes(part) && intercept(request, response);

/** Serves these documents, whoever signed them. */
export function serving(collateral: Collateral): Intercept {
  return (request, response) => {
    const path = request.url ?? "";
    const json = (field: string, text: string, signature: string, chain: string, header: string): void => {
      response.setHeader(header, encodeURIComponent(chain));
      response.end(`{"${field}":${text},"signature":"${signature}"}`);
    };
    if (path.includes("/pckcrl")) {
      response.setHeader("SGX-PCK-CRL-Issuer-Chain", encodeURIComponent(collateral.pck_crl_issuer_chain));
      response.end(Buffer.from(collateral.pck_crl, "hex"));
    } else if (path.includes("/rootcacrl")) {
      response.end(collateral.root_ca_crl);
    } else if (path.includes("/tcb")) {
      const { tcb_info, tcb_info_signature, tcb_info_issuer_chain } = collateral;
      json("tcbInfo", tcb_info, tcb_info_signature, tcb_info_issuer_chain, "TCB-Info-Issuer-Chain");
    } else {
      const { qe_identity, qe_identity_signature, qe_identity_issuer_chain } = collateral;
      const header = "SGX-Enclave-Identity-Issuer-Chain";
      json("enclaveIdentity", qe_identity, qe_identity_signature, qe_identity_issuer_chain, header);
    }
    return true;
  };
}

/** Pauses of a client's retries, in milliseconds; none is waited for. */
export interface TestClient {
  readonly client: CollateralClient;
  readonly events: CollateralEvent[];
  readonly pauses: number[];
  readonly kinds: () => string[];
}

export function makeClient(
  service: Pick<Service, "url">,
  options: Partial<CollateralClientOptions> = {},
): TestClient {
  const events: CollateralEvent[] = [];
  const pauses: number[] = [];
  const client = new CollateralClient({
    url: service.url,
    anchors,
    onEvent: (event) => events.push(event),
    parts: {
      pause: async (ms, signal) => {
        pauses.push(ms);
        signal.throwIfAborted();
      },
      random: () => 0.5,
    },
    ...options,
  });
  return { client, events, pauses, kinds: () => events.map((event) => event.kind) };
}
