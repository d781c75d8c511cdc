import { X509Certificate } from "node:crypto";
import { hex } from "@dstack/core";
import { describe, expect, it, onTestFinished } from "vitest";
import { SimulatedPlatform, startSimulatedPcs } from "../../src/index.js";

const NOW = 1_790_000_000;
const platform = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(5));

async function get(path: string): Promise<Response> {
  const pcs = await startSimulatedPcs({ platform, now: () => NOW });
  onTestFinished(() => pcs[Symbol.asyncDispose]());
  return fetch(`${pcs.url}${path}`);
}
const chainIn = (response: Response, header: string): string =>
  decodeURIComponent(response.headers.get(header) ?? "");

describe("startSimulatedPcs, on the paths of Intel's PCS v4", () => {
  const expected = platform.collateral(NOW);

  it("serves TCB info as the exact text that was signed, with its issuer chain", async () => {
    const response = await get(`/tdx/certification/v4/tcb?fmspc=${platform.fmspc}`);
    expect(await response.text()).toBe(
      `{"tcbInfo":${expected.tcb_info},"signature":"${expected.tcb_info_signature}"}`,
    );
    const chain = chainIn(response, "TCB-Info-Issuer-Chain");
    expect(chain).toBe(expected.tcb_info_issuer_chain);
    expect(new X509Certificate(chain).subject).toContain("SGX TCB Signing");
  });

  it("serves the identity of the quoting enclave", async () => {
    const response = await get("/tdx/certification/v4/qe/identity");
    expect(await response.text()).toBe(
      `{"enclaveIdentity":${expected.qe_identity},"signature":"${expected.qe_identity_signature}"}`,
    );
    expect(chainIn(response, "SGX-Enclave-Identity-Issuer-Chain")).toBe(expected.qe_identity_issuer_chain);
  });

  it("serves the PCK CRL as DER and as PEM", async () => {
    const binary = await get("/sgx/certification/v4/pckcrl?ca=platform&encoding=der");
    expect(hex(new Uint8Array(await binary.arrayBuffer()))).toBe(expected.pck_crl);
    expect(chainIn(binary, "SGX-PCK-CRL-Issuer-Chain")).toBe(expected.pck_crl_issuer_chain);
    const text = await (await get("/sgx/certification/v4/pckcrl?ca=platform")).text();
    const base64 = text.replaceAll(/-----[A-Z0-9 ]+-----|\n/g, "");
    expect(Buffer.from(base64, "base64").toString("hex")).toBe(expected.pck_crl);
  });

  it("serves the root CRL in hex", async () => {
    expect(await (await get("/sgx/certification/v4/rootcacrl")).text()).toBe(expected.root_ca_crl);
  });

  it.each([
    "/",
    "/tdx/certification/v4/tcb",
    "/tdx/certification/v4/tcb?fmspc=00A06D080000",
    "/sgx/certification/v4/pckcrl?ca=processor",
  ])("does not know %s", async (path) => {
    expect((await get(path)).status).toBe(404);
  });
});
