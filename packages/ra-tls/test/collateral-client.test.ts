import { readdir, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import { join } from "node:path";
import { authenticateCollateral } from "@dstack/attestation";
import type { Collateral } from "@dstack/attestation";
import { afterEach, describe, expect, it } from "vitest";
import { CollateralClient } from "../src/index.js";
import { NOW, platform } from "./guest.js";
import { tempDir } from "./temp.js";

const keys = { fmspc: platform.fmspc.toLowerCase(), ca: "platform" } as const;
const HOUR = 3600;
const DAY = 24 * HOUR;

/** What the service answers: a document, a status, or something of the test's own. */
type Answer = (path: string, response: ServerResponse) => void;

/** Intel's paths over some collateral. */
function serve(collateral: Collateral): Answer {
  return (path, response) => {
    const json = (chain: string, header: string, body: string): void => {
      response.setHeader(header, encodeURIComponent(chain)).end(body);
    };
    if (path.startsWith("/sgx/certification/v4/pckcrl?ca=platform&encoding=der")) {
      response.setHeader("SGX-PCK-CRL-Issuer-Chain", encodeURIComponent(collateral.pck_crl_issuer_chain));
      response.end(Buffer.from(collateral.pck_crl, "hex"));
    } else if (path === "/sgx/certification/v4/rootcacrl") response.end(collateral.root_ca_crl);
    else if (path === `/tdx/certification/v4/tcb?fmspc=${keys.fmspc}`) {
      const body = `{"tcbInfo":${collateral.tcb_info},"signature":"${collateral.tcb_info_signature}"}`;
      json(collateral.tcb_info_issuer_chain, "TCB-Info-Issuer-Chain", body);
    } else if (path === "/tdx/certification/v4/qe/identity") {
      const body = `{"enclaveIdentity":${collateral.qe_identity},"signature":"${collateral.qe_identity_signature}"}`;
      json(collateral.qe_identity_issuer_chain, "SGX-Enclave-Identity-Issuer-Chain", body);
    } else response.writeHead(404).end();
  };
}

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

/** A service on a free port whose answers a test changes while it runs. */
async function startService(answer: Answer) {
  const service = { url: "", requests: [] as string[], answer };
  const server = createServer((request: IncomingMessage, response) => {
    service.requests.push(request.url ?? "");
    service.answer(request.url ?? "", response);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closers.push(() => server.close().closeAllConnections());
  const address = server.address();
  service.url = `http://127.0.0.1:${typeof address === "object" && address !== null ? address.port : 0}`;
  return service;
}

const down: Answer = (_path, response) => void response.writeHead(503).end();

describe("CollateralClient", () => {
  it("fetches the nine documents exactly as they were signed", async () => {
    const collateral = platform.collateral(NOW);
    const service = await startService(serve(collateral));
    const client = new CollateralClient({ url: service.url });
    expect(await client.get(keys, NOW)).toEqual(collateral);
    // Order and spaces in the signed JSON survive: the signature is over the text.
    const spaced = { ...collateral, tcb_info: collateral.tcb_info.replaceAll(",", " ,\n ") };
    service.answer = serve(spaced);
    expect((await new CollateralClient({ url: `${service.url}/` }).get(keys, NOW)).tcb_info).toBe(
      spaced.tcb_info,
    );
  });

  it("fetches once for many askers, and not again while it is fresh", async () => {
    const service = await startService(serve(platform.collateral(NOW)));
    const client = new CollateralClient({ url: service.url });
    await Promise.all([1, 2, 3, 4, 5].map(() => client.get(keys, NOW)));
    await client.get(keys, NOW + HOUR - 1);
    expect(service.requests.length).toBe(4);
  });

  it("E8: refreshes ahead in the background and keeps answering from the cache while the service is down", async () => {
    const old = platform.collateral(NOW);
    const service = await startService(serve(old));
    const failures: unknown[] = [];
    const client = new CollateralClient({
      url: service.url,
      onRefreshError: (err) => failures.push(err),
    });
    await client.get(keys, NOW);
    service.answer = down;
    expect(await client.get(keys, NOW + 2 * HOUR)).toEqual(old);
    await expect.poll(() => failures.length).toBe(1);
    const fresh = platform.collateral(NOW + DAY);
    service.answer = serve(fresh);
    expect(await client.get(keys, NOW + DAY)).toEqual(old);
    await expect.poll(() => client.get(keys, NOW + DAY)).toEqual(fresh);
  });

  it("E8: what nobody trusted has signed does not take the place of good collateral, nor outlive a restart", async () => {
    const good = platform.collateral(NOW);
    const service = await startService(serve(good));
    const cacheDir = await tempDir();
    const failures: unknown[] = [];
    const options = {
      url: service.url,
      cacheDir,
      check: (fetched: Collateral) =>
        void authenticateCollateral(fetched, [{ kind: "simulated", sha256: platform.rootSha256 }]),
      onRefreshError: (err: unknown) => failures.push(err),
    };
    const client = new CollateralClient(options);
    await client.get(keys, NOW);
    const forged = { ...good, tcb_info: good.tcb_info.replace(/"nextUpdate":"\d{4}/, '"nextUpdate":"9999') };
    expect(forged).not.toEqual(good);
    service.answer = serve(forged);
    expect(await client.get(keys, NOW + 2 * HOUR)).toEqual(good);
    await expect.poll(() => failures.length).toBe(1);
    expect(failures[0]).toMatchObject({ code: "malformed", message: expect.stringContaining("not genuine") });
    expect(await client.get(keys, NOW + 2 * HOUR)).toEqual(good);
    const [file = ""] = await readdir(cacheDir);
    await writeFile(join(cacheDir, file), JSON.stringify({ fetched_at: NOW, collateral: forged }));
    await expect(new CollateralClient(options).get(keys, NOW)).rejects.toMatchObject({ code: "malformed" });
    service.answer = serve(good);
    expect(await new CollateralClient(options).get(keys, NOW)).toEqual(good);
  });

  it("E8: refuses when the cache has expired and the service is down, and does not hammer it", async () => {
    const service = await startService(serve(platform.collateral(NOW)));
    const client = new CollateralClient({ url: service.url });
    await client.get(keys, NOW);
    service.answer = down;
    const late = NOW + 31 * DAY;
    await expect(client.get(keys, late)).rejects.toMatchObject({
      code: "unreachable",
      rpcCode: "unavailable",
    });
    const asked = service.requests.length;
    await expect(client.get(keys, late + 1)).rejects.toMatchObject({ code: "unreachable" });
    expect(service.requests.length).toBe(asked);
    service.answer = serve(platform.collateral(late));
    await expect(client.get(keys, late + 60)).resolves.toBeDefined();
  });

  it("E8: refuses collateral that is past its next update when it is served", async () => {
    const service = await startService(serve(platform.collateral(NOW - 60 * DAY)));
    await expect(new CollateralClient({ url: service.url }).get(keys, NOW)).rejects.toMatchObject({
      code: "expired",
    });
  });

  it("E8: takes the first next update of all parts for the expiry, the CRLs' too", async () => {
    const early = platform.collateral(NOW - 27 * DAY);
    const mixed = { ...platform.collateral(NOW), pck_crl: early.pck_crl };
    const service = await startService(serve(mixed));
    const client = new CollateralClient({ url: service.url });
    await client.get(keys, NOW);
    service.answer = down;
    await expect(client.get(keys, NOW + 5 * DAY)).rejects.toMatchObject({ code: "unreachable" });
  });

  it("keeps collateral over a restart, and gets along with a damaged file", async () => {
    const collateral = platform.collateral(NOW);
    const service = await startService(serve(collateral));
    const cacheDir = join(await tempDir(), "cache");
    await new CollateralClient({ url: service.url, cacheDir }).get(keys, NOW);
    service.answer = down;
    expect(await new CollateralClient({ url: service.url, cacheDir }).get(keys, NOW + 60)).toEqual(
      collateral,
    );
    const [file = ""] = await readdir(cacheDir);
    await writeFile(join(cacheDir, file), "{");
    const errors: unknown[] = [];
    const client = new CollateralClient({
      url: service.url,
      cacheDir,
      onRefreshError: (err) => errors.push(err),
    });
    await expect(client.get(keys, NOW)).rejects.toMatchObject({ code: "unreachable" });
    expect(errors.length).toBe(1);
    service.answer = serve(collateral);
    expect(await new CollateralClient({ url: service.url, cacheDir }).get(keys, NOW)).toEqual(collateral);
  });

  it("E11: bounds what it reads, follows no redirect and lets no FMSPC choose a path", async () => {
    const service = await startService((_path, response) => void response.end("x".repeat(1024 * 1024 + 1)));
    await expect(new CollateralClient({ url: service.url }).get(keys, NOW)).rejects.toThrow(/larger than/);
    service.answer = (_path, response) => void response.writeHead(302, { location: "/elsewhere" }).end();
    await expect(new CollateralClient({ url: service.url }).get(keys, NOW)).rejects.toMatchObject({
      code: "unreachable",
    });
    expect(service.requests).not.toContain("/elsewhere");
    const evil = { fmspc: "../../../../", ca: "platform" } as const;
    await expect(new CollateralClient({ url: service.url }).get(evil, NOW)).rejects.toMatchObject({
      code: "malformed",
    });
  });

  it.each<[string, (path: string, response: ServerResponse) => boolean]>([
    [
      "JSON of another shape",
      (path, response) =>
        path.includes("/tcb") && Boolean(response.setHeader("TCB-Info-Issuer-Chain", "x").end("[]")),
    ],
    [
      "no issuer chain",
      (path, response) =>
        path.includes("/qe/") && Boolean(response.end('{"enclaveIdentity":{},"signature":"00"}')),
    ],
    ["a CRL that is none", (path, response) => path.includes("rootcacrl") && Boolean(response.end("zz"))],
    [
      "a CRL that does not parse",
      (path, response) => path.includes("rootcacrl") && Boolean(response.end("3000")),
    ],
  ])("E11: refuses %s", async (_name, special) => {
    const normal = serve(platform.collateral(NOW));
    const service = await startService((path, response) => {
      if (!special(path, response)) normal(path, response);
    });
    await expect(new CollateralClient({ url: service.url }).get(keys, NOW)).rejects.toMatchObject({
      code: "malformed",
    });
  });
});
