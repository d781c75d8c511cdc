import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { CertificateAuthority, appIdExtension, generateP256 } from "@dstack/ra-tls";
import { createClient } from "@dstack/prpc";
import { kms } from "@dstack/proto";
import { parseAppId } from "@dstack/core";
import { describe, expect, it } from "vitest";
import { raTlsTransport } from "../src/index.js";
import { appIdOf, ca, listen } from "./site.js";

const inADay = (): Date => new Date(Date.now() + 86_400_000);
const appId = parseAppId(appIdOf("somebody's app"));

/** What the KMS gives any app, and what the app's containers can therefore use. */
async function appCa(): Promise<CertificateAuthority> {
  const key = generateP256();
  const certPem = await ca.issue({
    publicKey: key.publicKey,
    commonName: `${appId}.app`,
    ca: { pathLength: 1 },
    extensions: [appIdExtension(appId)],
    notAfter: inADay(),
  });
  return CertificateAuthority.load([certPem, ...ca.chain].join(""), key.privateKeyPem);
}

async function callWith(
  identity: { key: string; certChain: string },
  servername?: string,
): Promise<{ requests: number; refused: unknown }> {
  let requests = 0;
  await using server = await listen({
    ...identity,
    mount: (app) => void app.server.on("request", () => (requests += 1)),
  });
  await using transport = raTlsTransport({
    url: server.url,
    caPem: ca.certPem,
    ...(servername === undefined ? {} : { servername }),
  });
  const refused = await createClient(kms.KMS, transport)
    .getMeta()
    .then(
      () => undefined,
      (err: unknown) => err,
    );
  return { requests, refused };
}

describe("a container that poses as a daemon of the site", () => {
  it("K3: is refused with a certificate of its app's CA for the daemon's address (DeriveKey gives one)", async () => {
    const app = await appCa();
    const key = generateP256();
    const leaf = await app.issue({
      publicKey: key.publicKey,
      commonName: "dstack KMS",
      altNames: ["127.0.0.1"],
      usages: ["serverAuth", "clientAuth"],
      notAfter: inADay(),
    });
    const { requests, refused } = await callWith({
      key: key.privateKeyPem,
      certChain: [leaf, ...app.chain].join(""),
    });
    expect(refused).toMatchObject({ message: expect.stringMatching(/not issued by the CA itself/) });
    expect(requests).toBe(0);
  });

  it("K3: is refused with its app's CA certificate itself, under the name that stands in it", async () => {
    const app = await appCa();
    const { requests, refused } = await callWith(
      { key: app.key.export({ type: "pkcs8", format: "pem" }).toString(), certChain: app.chain.join("") },
      `${appId}.app`,
    );
    expect(refused).toMatchObject({ message: expect.stringMatching(/certificate of a CA/) });
    expect(requests).toBe(0);
  });
});

describe("a host that gives a guest an address without TLS", () => {
  it("K3: gets no request over plain HTTP", async () => {
    let requests = 0;
    const plain = createServer((_request, response) => {
      requests += 1;
      response.setHeader("content-type", "application/octet-stream").end();
    });
    plain.listen(0, "127.0.0.1");
    await once(plain, "listening");
    const { port } = plain.address() as AddressInfo;
    try {
      const talk = async (): Promise<unknown> => {
        await using transport = raTlsTransport({ url: `http://127.0.0.1:${port}`, caPem: ca.certPem });
        return await createClient(kms.KMS, transport).getMeta();
      };
      await expect(talk()).rejects.toThrow(/https/);
      expect(requests).toBe(0);
    } finally {
      plain.close();
      plain.closeAllConnections();
    }
  });
});
