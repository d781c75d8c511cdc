import { sha256 } from "@dstack/core";
import { pemToDer } from "@dstack/ra-tls";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { APP_ID, COMPOSE_HASH, INSTANCE_ID, NONCE, OTHER_ID, Site, serveTls, verify } from "./site.js";
import type { GuestOptions, Outcome } from "./site.js";

let site: Site;
let kmsCa: string;
let caCertHash: Uint8Array;

beforeAll(async () => {
  site = await Site.open();
  const { cert } = await site.certificate();
  kmsCa = await site.write("kms-ca.pem", cert);
  caCertHash = sha256(pemToDer(cert));
});
afterAll(() => site[Symbol.asyncDispose]());

/** A VM whose host told it that it is app {@link OTHER_ID}, and that runs another document. */
const CLAIM = { appId: OTHER_ID } as const;
const keyProvider = JSON.stringify({ name: "kms", id: "aa" });

async function verifyQuote(guest: GuestOptions, ...args: string[]): Promise<Outcome> {
  const file = await site.write("claim.json", JSON.stringify(await site.answer({ ...CLAIM, ...guest })));
  return verify(file, "--nonce", NONCE, ...site.trusting, ...site.image, ...args);
}

describe("K2: dstack verify of a VM that says it is an upgraded app", () => {
  it("could not tell by the app id alone, which its host chooses", async () => {
    const { code, out } = await verifyQuote({ keyProvider }, "--app-id", OTHER_ID);
    expect(code, out).toBe(2);
    expect(out).toMatch(/^NOT CHECKED: upgrade: .*\(give --compose <file>, or --kms-ca <pem>\)$/m);
    expect(out).not.toContain("permission");
  });

  it("could not tell by the app's or the instance's host name", async () => {
    const { cert, key } = await site.certificate({ guest: await site.guest({ ...CLAIM, keyProvider }) });
    await using server = await serveTls({ cert, key: key.privateKeyPem });
    for (const id of [OTHER_ID, INSTANCE_ID]) {
      const url = `https://${id}-443s.app.localhost:${server.port}/`;
      const { code, out } = await verify(url, ...site.trusting, ...site.image);
      expect(code, out).toBe(2);
      expect(out).toMatch(/^NOT CHECKED: upgrade: /m);
    }
  });

  it("takes the word of the KMS that was named, once it has given its keys", async () => {
    const named = ["--app-id", OTHER_ID, "--kms-ca", kmsCa];
    const permitted = await verifyQuote({ caCertHash, keyProvider }, ...named);
    expect(permitted.code, permitted.out).toBe(0);
    expect(permitted.out).toContain("upgrade: the KMS has given the keys");
    expect(permitted.out).toContain("with its KMS's permission");
    const before = await verifyQuote({ caCertHash }, ...named);
    expect(before.code, before.out).toBe(2);
    expect((await verifyQuote({ keyProvider }, ...named)).code).toBe(1);
  });

  it("is content with the document it runs, and with any app", async () => {
    expect((await verifyQuote({}, "--app-id", OTHER_ID, ...site.compose)).code).toBe(0);
    const any = await verifyQuote({}, "--any-app");
    expect(any.code, any.out).toBe(0);
    expect(any.out).toMatch(/^NOT CHECKED: compose document: .* it is not the one the app id was made of/m);
  });

  it("needs neither where the app id is that of the document", async () => {
    const { code, out } = await verifyQuote({ appId: APP_ID }, "--app-id", COMPOSE_HASH.slice(0, 40));
    expect(code, out).toBe(0);
    expect(out).not.toContain("upgrade: ");
  });
});
