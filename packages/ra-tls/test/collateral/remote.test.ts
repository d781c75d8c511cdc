import { execFileSync } from "node:child_process";
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { MAX_BODY_BYTES } from "../../src/collateral/http.js";
import { tempDir } from "../temp.js";
import {
  NOW,
  anchors,
  keys,
  makeClient,
  only,
  platform,
  platformWith,
  startService,
  status,
} from "./service.js";

describe("Intel's PCS", () => {
  it("is asked for TCB info, QE identity and PCK CRL, and the distribution point for the root CRL", async () => {
    const service = await startService({ flavour: "pcs" });
    const { client } = makeClient(service, { rootCrlUrl: `${service.url}/IntelSGXRootCA.der` });
    expect(await client.get(keys, NOW)).toEqual(platform.collateral(NOW));
    expect(service.requests.sort()).toEqual([
      "/IntelSGXRootCA.der",
      "/sgx/certification/v4/pckcrl?ca=platform&encoding=der",
      `/tdx/certification/v4/qe/identity`,
      `/tdx/certification/v4/tcb?fmspc=${keys.fmspc}`,
    ]);
  });

  it.each(["early", "standard"] as const)("its channel %s is asked for where configured", async (update) => {
    const service = await startService();
    await makeClient(service, { update }).client.get(keys, NOW);
    expect(service.requests.filter((path) => path.includes(`update=${update}`)).length).toBe(2);
  });

  it("for the Processor CA, its list is asked for", async () => {
    const service = await startService();
    service.platform = platformWith({ ca: "processor" });
    const collateral = await makeClient(service).client.get({ ...keys, ca: "processor" }, NOW);
    expect(collateral).toEqual(service.platform.collateral(NOW));
    expect(service.requests).toContain("/sgx/certification/v4/pckcrl?ca=processor&encoding=der");
  });
});

describe("a PCCS", () => {
  it("answers CRLs as hex and names the issuer chain of TCB info as before", async () => {
    const service = await startService({ flavour: "pccs" });
    expect(await makeClient({ url: `${service.url}/` }).client.get(keys, NOW)).toEqual(
      platform.collateral(NOW),
    );
    expect(service.requests).toContain("/sgx/certification/v4/rootcacrl");
  });

  describe("with a TLS certificate of its own", () => {
    let identity: { key: string; cert: string };
    beforeAll(async () => {
      const dir = await tempDir();
      const [key, cert] = [join(dir, "key.pem"), join(dir, "cert.pem")];
      const make = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 365 -subj /CN=localhost`;
      execFileSync("openssl", [...make.split(" "), "-keyout", key, "-out", cert], { stdio: "pipe" });
      identity = { key: await readFile(key, "utf8"), cert: await readFile(cert, "utf8") };
    });
    const named = (url: string): string => url.replace("127.0.0.1", "localhost");

    it("is used when the configuration names that certificate", async () => {
      const service = await startService({ flavour: "pccs", tls: identity });
      const { client } = makeClient({ url: named(service.url) }, { tlsCa: identity.cert });
      expect(await client.get(keys, NOW)).toEqual(platform.collateral(NOW));
    });

    it("does not speak for another host", async () => {
      const service = await startService({ flavour: "pccs", tls: identity });
      const other = await startService({ flavour: "pcs", tls: identity });
      const { client } = makeClient(
        { url: named(service.url) },
        { tlsCa: identity.cert, rootCrlUrl: `${named(other.url)}/IntelSGXRootCA.der` },
      );
      await expect(client.get(keys, NOW)).rejects.toThrow(
        /IntelSGXRootCA.der: its TLS certificate is not trusted/,
      );
      expect(other.requests).toEqual([]);
    });

    it("is refused otherwise, at once and with what to do", async () => {
      const service = await startService({ flavour: "pccs", tls: identity });
      const { client, pauses } = makeClient({ url: named(service.url) });
      await expect(client.get(keys, NOW)).rejects.toThrow(/name its CA in pccs_ca_file/);
      const byAddress = makeClient(service, { tlsCa: identity.cert });
      await expect(byAddress.client.get(keys, NOW)).rejects.toThrow(/not trusted/);
      expect([...pauses, ...byAddress.pauses]).toEqual([]);
      expect(service.requests).toEqual([]);
    });
  });
});

describe("E8: failures that may pass are tried again, a bounded number of times", () => {
  it.each([408, 429, 500, 502, 503, 504])("status %d", async (code) => {
    const service = await startService();
    let left = 2;
    service.intercept = only("/tcb", (...args) => left-- > 0 && status(code)(...args));
    const { client, pauses } = makeClient(service);
    await client.get(keys, NOW);
    expect(pauses).toEqual([125, 250]); // half of 250 and 500: chance is 0.5 here
    expect(service.requests.length).toBe(6);
  });

  it("a connection that is cut, in the middle of an answer too", async () => {
    const service = await startService();
    let left = 2;
    service.intercept = only("/qe/identity", (_request, response) => {
      if (left-- <= 0) return false;
      if (left === 0) response.writeHead(200, { "content-length": "1000" }).write("{");
      setImmediate(() => response.destroy());
      return true;
    });
    await makeClient(service).client.get(keys, NOW);
    expect(service.requests.length).toBe(6);
  });

  it("gives up after four attempts", async () => {
    const service = await startService();
    service.intercept = only("/tcb", status(503));
    const { client, pauses } = makeClient(service);
    await expect(client.get(keys, NOW)).rejects.toThrow(/\/tdx\/certification\/v4\/tcb: status 503/);
    expect(pauses).toEqual([125, 250, 500]);
    expect(service.requests.filter((path) => path.includes("/tcb")).length).toBe(4);
  });

  it.each([400, 401, 403, 404, 410])("not status %d", async (code) => {
    const service = await startService();
    service.intercept = status(code);
    const { client, pauses } = makeClient(service);
    await expect(client.get(keys, NOW)).rejects.toMatchObject({ rpcCode: "unavailable" });
    expect(pauses).toEqual([]);
  });

  it("an unreachable service is one too", async () => {
    const { client, pauses } = makeClient({ url: "http://127.0.0.1:1" });
    await expect(client.get(keys, NOW)).rejects.toMatchObject({ code: "unreachable" });
    expect(pauses.length).toBeGreaterThan(0);
  });
});

describe("E8: Retry-After", () => {
  it("is how long is waited, if that is short", async () => {
    const service = await startService();
    let first = true;
    service.intercept = only("/tcb", (...args) => {
      if (!first) return false;
      first = false;
      return status(429, { "retry-after": "3" })(...args);
    });
    const { client, pauses } = makeClient(service);
    await client.get(keys, NOW);
    expect(pauses).toEqual([3125]);
  });

  it.each([
    ["seconds", "120"],
    ["a date", new Date((NOW + 120) * 1000).toUTCString()],
  ])("in %s: a service that wants to be left alone is, for all platforms", async (_form, value) => {
    const service = await startService();
    service.intercept = status(503, { "retry-after": value });
    const { client, pauses, kinds } = makeClient(service);
    await expect(client.get(keys, NOW)).rejects.toThrow(/asked again in 120 s/);
    expect(pauses).toEqual([]);
    service.intercept = undefined;
    for (const later of [0, 60, 119]) {
      await expect(client.get(keys, NOW + later)).rejects.toMatchObject({ code: "unreachable" });
      const other = { ...keys, fmspc: "00906ed50000" };
      await expect(client.get(other, NOW + later)).rejects.toMatchObject({ code: "unreachable" });
    }
    expect(kinds()).toEqual(["fetch_failed"]);
    expect(await client.get(keys, NOW + 120)).toEqual(platform.collateral(NOW));
  });

  it("cannot shut us out for longer than an hour", async () => {
    const service = await startService();
    service.intercept = status(503, { "retry-after": "999999999" });
    const { client } = makeClient(service);
    await expect(client.get(keys, NOW)).rejects.toMatchObject({ code: "unreachable" });
    service.intercept = undefined;
    expect(await client.get(keys, NOW + 3600)).toEqual(platform.collateral(NOW));
  });

  it("that is none is ignored", async () => {
    const service = await startService();
    let first = true;
    service.intercept = only("/tcb", (...args) => {
      if (!first) return false;
      first = false;
      return status(503, { "retry-after": "soon" })(...args);
    });
    const { client, pauses } = makeClient(service);
    await client.get(keys, NOW);
    expect(pauses).toEqual([125]);
  });
});

describe("E11: what a service may send is bounded", () => {
  it("in size", async () => {
    const service = await startService();
    service.intercept = only("/tcb", (_request, response) => {
      response.end(Buffer.alloc(MAX_BODY_BYTES + 1));
      return true;
    });
    const { client, pauses } = makeClient(service);
    await expect(client.get(keys, NOW)).rejects.toThrow(/larger than/);
    expect(pauses).toEqual([]);
  });

  it("in its headers", async () => {
    const service = await startService();
    service.intercept = only("/tcb", status(200, { "TCB-Info-Issuer-Chain": "x".repeat(100_000) }));
    await expect(makeClient(service).client.get(keys, NOW)).rejects.toMatchObject({ code: "unreachable" });
  });

  it("it sends us nowhere else: a redirect is an error that names the place", async () => {
    const service = await startService();
    const elsewhere = await startService();
    service.intercept = only("/tcb", status(302, { location: `${elsewhere.url}/tcb` }));
    await expect(makeClient(service).client.get(keys, NOW)).rejects.toThrow(
      `it points to ${elsewhere.url}/tcb; redirects are not followed`,
    );
    service.intercept = only("/tcb", status(307, { location: "/same-host" }));
    await expect(makeClient(service).client.get(keys, NOW)).rejects.toThrow(/redirects are not followed/);
    expect(elsewhere.requests).toEqual([]);
    expect(service.requests).not.toContain("/same-host");
  });

  it.each<
    [string, string, (body: (text: string) => void, header: (name: string, value: string) => void) => void]
  >([
    ["JSON of another shape", "/tcb", (body, header) => (header("TCB-Info-Issuer-Chain", "x"), body("[]"))],
    ["no issuer chain", "/qe/", (body) => body('{"enclaveIdentity":{},"signature":"00"}')],
    [
      "an issuer chain that is not percent-encoded",
      "/qe/",
      (body, header) => (
        header("SGX-Enclave-Identity-Issuer-Chain", "%zz"),
        body('{"enclaveIdentity":{},"signature":"00"}')
      ),
    ],
    ["a CRL that is neither DER nor hex", "rootcacrl", (body) => body("zz")],
    ["a CRL of half a byte", "rootcacrl", (body) => body("300")],
    ["an empty CRL", "rootcacrl", (body) => body("")],
  ])("and in form: %s", async (_name, path, answer) => {
    const service = await startService();
    service.intercept = only(path, (_request, response) => {
      answer(
        (text) => void response.end(text),
        (name, value) => void response.setHeader(name, value),
      );
      return true;
    });
    await expect(makeClient(service).client.get(keys, NOW)).rejects.toMatchObject({ code: "malformed" });
  });

  it("signed JSON is kept as it was written, spaces and all", async () => {
    const service = await startService();
    const spaced = platform.collateral(NOW).tcb_info.replaceAll(",", " ,\n ");
    service.intercept = only("/tcb", (_request, response) => {
      const { tcb_info_issuer_chain: chain, tcb_info_signature: signature } = platform.collateral(NOW);
      response.setHeader("TCB-Info-Issuer-Chain", encodeURIComponent(chain));
      response.end(` {\n"tcbInfo" : ${spaced} , "signature":"${signature.toUpperCase()}"}\n`);
      return true;
    });
    // Other spaces are another text: the signature is not over it.
    await expect(makeClient(service, { anchors }).client.get(keys, NOW)).rejects.toThrow(
      /TCB info is not signed by its signer/,
    );
  });
});
