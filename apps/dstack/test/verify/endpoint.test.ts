import { createPrivateKey } from "node:crypto";
import { connect, createServer } from "node:net";
import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { raTlsReportData } from "@dstack/attestation";
import { CertificateAuthority, generateP256, p256Scalar, pemToDer } from "@dstack/ra-tls";
import type { P256KeyPair } from "@dstack/ra-tls";
import {
  APP_ID,
  INSTANCE_ID,
  OTHER_ID,
  Site,
  servePlain,
  serveHttps,
  serveTls,
  verify,
  verifyJson,
} from "./site.js";
import type { Outcome } from "./site.js";

let site: Site;

beforeAll(async () => {
  site = await Site.open();
});
afterAll(() => site[Symbol.asyncDispose]());

/** What verification says of a server that presents this certificate with this key. */
async function verifyServer(cert: string, key: P256KeyPair | string, ...args: string[]) {
  const keyPem = typeof key === "string" ? key : key.privateKeyPem;
  await using server = await serveTls({ cert, key: keyPem });
  return await verify(server.url, ...site.all, ...args);
}

describe("dstack verify https://…", () => {
  it("verifies a server whose RA-TLS certificate is a good guest's", async () => {
    const { cert, key } = await site.certificate();
    const { code, out } = await verifyServer(cert, key);
    expect(code, out).toBe(0);
    expect(out).toMatch(/^ok {7}key of the handshake: TLS 1\.3, signed by the key of the certificate/m);
    expect(out).toMatch(/^ok {7}validity: /m);
    expect(out).toMatch(/endpoint verified \(simulated platform\)\n$/);
  });

  it("E4: refuses a server with a good certificate and another key", async () => {
    const { cert, key } = await site.certificate();
    const { code, out } = await verifyServer(cert, pretendingKey(generateP256(), key));
    expect(code, out).toBe(1);
    expect(out).toMatch(
      /^REFUSED: key of the handshake: the server presents a certificate whose key it does not hold$/m,
    );
    // The same trick with the true scalar gives a good server: what refused is the signature of the handshake.
    expect((await verifyServer(cert, pretendingKey(key, key))).code).toBe(0);
  });

  it("E4: refuses a certificate of the server's own with somebody else's quote in it", async () => {
    const victim = generateP256();
    const guest = await site.guest();
    const stolen = await guest.provider.getQuote(raTlsReportData(victim.publicKeySpki));
    const relaying = { ...guest, provider: { getQuote: async () => stolen } };
    const { cert, key } = await site.certificate({ guest: relaying });
    const { code, out } = await verifyServer(cert, key);
    expect(code).toBe(1);
    expect(out).toMatch(/^REFUSED: report data: the quote was made over other report data$/m);
  });

  it("is not deceived by whoever only passes bytes on: TLS ends in the guest", async () => {
    const { cert, key } = await site.certificate();
    await using server = await serveTls({ cert, key: key.privateKeyPem });
    const relay = createServer((socket) => {
      const onward = connect(server.port, "127.0.0.1");
      socket.pipe(onward).pipe(socket);
      for (const end of [socket, onward]) end.on("error", () => undefined);
    }).listen(0, "127.0.0.1");
    await once(relay, "listening");
    const { port } = relay.address() as AddressInfo;
    expect((await verify(`https://127.0.0.1:${port}/`, ...site.all)).code).toBe(0);
    relay.close();
  });

  it.each([
    ["expired", { from: -7200, to: -3600 }, "has expired"],
    ["not valid yet", { from: 7200, to: 9000 }, "is not valid yet"],
    ["valid for a year", { from: -60, to: 365 * 86_400 }, "is valid for more than 10 days"],
  ])("refuses a certificate that is %s", async (_name, dates, why) => {
    const { cert, key } = await site.certificate(dates);
    const { code, out } = await verifyServer(cert, key);
    expect(code).toBe(1);
    expect(out).toContain(`RA-TLS certificate ${why}`);
  });

  it("refuses another app, another image, and a platform nobody trusts", async () => {
    const { cert, key } = await site.certificate();
    await using server = await serveTls({ cert, key: key.privateKeyPem });
    expect((await verify(server.url, ...site.all, "--app-id", OTHER_ID)).code).toBe(1);
    expect((await verify(server.url, ...site.image, ...site.compose, "--pccs-url", site.pcs.url)).code).toBe(
      1,
    );
    const policy = await site.write(
      "policy.json",
      JSON.stringify({ images: { allowed: [{ ...pick(site.launch), name: "x", rtmr1: "00".repeat(48) }] } }),
    );
    expect((await verify(server.url, ...site.trusting, ...site.compose, "--policy", policy)).code).toBe(1);
  });

  it("takes the app or instance to be expected from the host name", async () => {
    const { cert, key } = await site.certificate();
    await using server = await serveTls({ cert, key: key.privateKeyPem });
    const at = (id: string) => `https://${id}-443s.app.localhost:${server.port}/`;
    const app = await verify(at(APP_ID), ...site.trusting, ...site.image);
    expect(app.code, app.out).toBe(0);
    expect(app.out).toContain("host name: names this app");
    expect((await verify(at(INSTANCE_ID), ...site.trusting, ...site.image)).out).toContain(
      "names this instance",
    );
    const other = await verify(at(OTHER_ID), ...site.all);
    expect(other.code).toBe(1);
    expect(other.out).toMatch(/^REFUSED: host name: names 1111/m);
  });
});

describe("dstack verify https://… could not tell (exit code 2)", () => {
  it("of an ordinary certificate, and says where TLS ends", async () => {
    const { cert, key } = await ordinary();
    const { code, out } = await verifyServer(cert, key);
    expect(code).toBe(2);
    expect(out).toMatch(/^NOT CHECKED: quote: the server's certificate carries no quote/m);
    expect(out).toContain("the certificate is tproxy's");
    expect(out).not.toMatch(/verified \(/);
  });

  it("of an endpoint without an image or an app to compare with", async () => {
    const { cert, key } = await site.certificate();
    await using server = await serveTls({ cert, key: key.privateKeyPem });
    const report = await verifyJson(server.url, ...site.trusting);
    expect(report).toMatchObject({ verdict: "unknown", verified: false });
    expect(report.not_checked.map(({ check }) => check)).toEqual(
      expect.arrayContaining(["image", "app id", "compose document"]),
    );
  });

  it("when nobody answers, or not in TLS 1.3", async () => {
    const { cert, key } = await site.certificate();
    await using old = await serveTls({
      cert,
      key: key.privateKeyPem,
      minVersion: "TLSv1.2",
      maxVersion: "TLSv1.2",
    });
    await using plain = await servePlain();
    for (const url of [old.url, plain.url, "https://127.0.0.1:1/"]) {
      const { code, out } = await verify(url, ...site.all);
      expect(code).toBe(2);
      expect(out).toMatch(/^could not tell: 127\.0\.0\.1:\d+ does not answer over TLS 1\.3: /);
    }
  });
});

describe("dstack verify https://… --path, through a proxy that ends TLS", () => {
  it("verifies the app's quote over a fresh nonce, and says that the connection is not the guest's", async () => {
    const nonces: string[] = [];
    await using proxy = await proxyTo(async (nonce) => {
      nonces.push(nonce);
      return JSON.stringify(await site.answer({}, nonce));
    });
    const args = [proxy.url, "--path", "/quote", ...site.all];
    const { code, out } = await verify(...args);
    expect(code, out).toBe(0);
    expect(out).toMatch(/^NOT CHECKED: TLS key: TLS ends at the proxy: its key is not the guest's/m);
    expect(out).toContain("server certificate: no public CA vouches for it");
    expect(out).toMatch(/quote verified \(simulated platform\)\n$/);
    await verify(...args);
    expect(new Set(nonces).size).toBe(2);
  });

  it("E4: refuses an answer that was recorded", async () => {
    const recorded = JSON.stringify(await site.answer());
    await using proxy = await proxyTo(() => recorded);
    const { code, out } = await verify(proxy.url, "--path", "/quote", ...site.all);
    expect(code).toBe(1);
    expect(out).toMatch(/^REFUSED: report data: /m);
  });

  it("could not tell when the app gives no quote there", async () => {
    await using proxy = await proxyTo(() => undefined);
    expect(await verify(proxy.url, "--path", "/quote", ...site.all)).toEqual({
      code: 2,
      out: "could not tell: the app answers 404 on /quote: it gives no quote there",
    });
    await using html = await proxyTo(() => "<html>");
    expect((await verify(html.url, "--path", "/quote", ...site.all)).code).toBe(2);
  });

  it("does not ask for a quote where the certificate carries one", async () => {
    const { cert, key } = await site.certificate();
    let asked = 0;
    await using server = await serveHttps({ cert, key: key.privateKeyPem }, () => {
      asked += 1;
      return "{}";
    });
    expect((await verify(server.url, "--path", "/quote", ...site.all)).code).toBe(0);
    expect(asked).toBe(0);
  });
});

describe("dstack verify <certificate file>", () => {
  it("verifies a certificate as PEM and as DER, and says that a file shows no handshake", async () => {
    const { cert } = await site.certificate();
    const pem = await site.write("cert.pem", `# kept\n${cert}`);
    const der = await site.write("cert.der", pemToDer(cert));
    for (const path of [pem, der]) {
      const { code, out } = await verify(path, ...site.all);
      expect(code, out).toBe(0);
      expect(out).toMatch(/^NOT CHECKED: TLS key: a file shows no handshake/m);
      expect(out).toMatch(/certificate verified \(simulated platform\)\n$/);
    }
  });

  it("E4: refuses a certificate with somebody else's quote, E2: with an edited log, and an expired one", async () => {
    const guest = await site.guest();
    const stolen = await guest.provider.getQuote(new Uint8Array(64));
    const relaying = {
      ...guest,
      provider: { getQuote: async () => stolen },
    };
    const edited = { ...guest, eventLog: guest.eventLog.replaceAll(APP_ID, OTHER_ID) };
    for (const options of [{ guest: relaying }, { guest: edited }, { from: -7200, to: -60 }]) {
      const path = await site.write("bad.pem", (await site.certificate(options)).cert);
      expect(await verify(path, ...site.all)).toMatchObject({ code: 1 });
    }
  });

  it("E3: refuses a certificate that names another app than its evidence", async () => {
    const named = async (appId: string): Promise<Outcome> =>
      verify(await site.write("named.pem", (await site.certificate({ appId })).cert), ...site.all);
    expect((await named(APP_ID)).code).toBe(0);
    const { code, out } = await named(OTHER_ID);
    expect(code, out).toBe(1);
    expect(out).toContain(`REFUSED: certificate: names app ${OTHER_ID}, the guest is of app ${APP_ID}`);
  });

  it("E11: refuses a broken certificate, and cannot tell of an ordinary one", async () => {
    const der = pemToDer((await site.certificate()).cert);
    const cut = await site.write("cut.der", der.subarray(0, 3000));
    expect((await verify(cut, ...site.all)).out).toMatch(/^REFUSED: RA-TLS certificate: /m);
    const plain = await site.write("plain.pem", (await ordinary()).cert);
    const { code, out } = await verify(plain, ...site.all);
    expect(code).toBe(2);
    expect(out).toContain("the certificate carries no quote: it is an ordinary one");
  });
});

/** A certificate as a proxy has it. */
async function ordinary(): Promise<{ cert: string; key: P256KeyPair }> {
  const ca = await CertificateAuthority.create({ commonName: "proxy CA" });
  const key = generateP256();
  const cert = await ca.issue({
    publicKey: key.publicKey,
    commonName: "proxy",
    altNames: ["127.0.0.1"],
    usages: ["serverAuth"],
    notAfter: new Date(Date.now() + 3_600_000),
  });
  return { cert, key };
}

async function proxyTo(answer: (nonce: string) => Promise<string> | string | undefined) {
  const { cert, key } = await ordinary();
  return serveHttps({ cert, key: key.privateKeyPem }, (request) =>
    answer(new URL(request.url ?? "", "https://proxy").searchParams.get("nonce") ?? ""),
  );
}

/**
 * A private key file with one pair's scalar and another's public point. TLS libraries compare the point with the
 * certificate when they load a key, and sign with the scalar.
 */
function pretendingKey(scalarOf: P256KeyPair, pointOf: P256KeyPair): string {
  const scalar = Buffer.from(p256Scalar(scalarOf.privateKey));
  const point = Buffer.from(pointOf.publicKeySpki.subarray(-65));
  const template = generateP256().privateKey.export({ type: "sec1", format: "der" });
  // ECPrivateKey (RFC 5915 §3): the scalar at 7, the point in the last 65 bytes.
  scalar.copy(template, 7);
  point.copy(template, template.length - 65);
  const pem = `-----BEGIN EC PRIVATE KEY-----\n${template.toString("base64")}\n-----END EC PRIVATE KEY-----\n`;
  createPrivateKey(pem);
  return pem;
}

function pick({ mrtd, rtmr0, rtmr1, rtmr2 }: Site["launch"]) {
  return { mrtd, rtmr0, rtmr1, rtmr2 };
}
