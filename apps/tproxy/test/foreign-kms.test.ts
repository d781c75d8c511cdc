import { writeFile } from "node:fs/promises";
import { generateKeyPair } from "@dstack/wireguard-tools-wrapper";
import { CertificateAuthority, generateP256 } from "@dstack/ra-tls";
import { describe, expect, it } from "vitest";
import { ca, guestIdentity, idOf, makeSite, register, rpcClient, serverPair, start } from "./site.js";
import type { GuestShape } from "./site.js";

const newKey = (): string => generateKeyPair().publicKey;
const FOREIGN = { status: 403, message: expect.stringContaining("another KMS than ours") as string };

/**
 * The host of this guest runs a KMS of his own. It gave the keys of the victim's app id to a document of his, whose
 * container has read the TLS key of the boot: certificate and key are as good as if the guest itself called.
 */
async function takeover(): Promise<GuestShape> {
  const { certPem } = await CertificateAuthority.create({ commonName: "attacker root" });
  return { app: "victim", document: "of the attacker", instance: "attacker", kmsCa: certPem };
}

describe("K2: guests of another KMS", () => {
  it("K2: an app id that no KMS of ours has given to the document registers nothing, and gets no challenge", async () => {
    await using site = await makeSite();
    await using server = await start(site);
    await register(server, { app: "victim", instance: "victim" }, newKey());
    const attacker = await takeover();
    await expect(register(server, attacker, newKey())).rejects.toMatchObject(FOREIGN);
    await using client = rpcClient(server.url, await guestIdentity(attacker));
    await expect(client.getChallenge({})).rejects.toMatchObject(FOREIGN);
    expect(server.registry.list().map(({ instanceId }) => instanceId)).toEqual([idOf("victim")]);
  });

  it("K2: the same document under another KMS, which knows the app's keys then, is refused too", async () => {
    await using site = await makeSite();
    await using server = await start(site);
    const { kmsCa = "" } = await takeover();
    await expect(register(server, { app: "victim", kmsCa }, newKey())).rejects.toMatchObject(FOREIGN);
  });

  it("K2: an upgraded app registers under the id it has kept: its KMS has permitted that", async () => {
    await using site = await makeSite();
    await using server = await start(site);
    await register(server, { app: "first", document: "second" }, newKey());
    expect(server.registry.list().map(({ appId }) => appId)).toEqual([idOf("first")]);
  });

  it("K2: tproxy does not start without the CA that issued its certificate: it could not tell whose guests come", async () => {
    await using site = await makeSite();
    const { cert, key } = await serverPair("127.0.0.1");
    const { kmsCa = "" } = await takeover();
    const sameName = await CertificateAuthority.create({
      commonName: "test root",
      key: generateP256().privateKey,
    });
    await writeFile(site.config.tls.key, key, { mode: 0o600 });
    for (const wrong of [cert, cert + kmsCa, cert + sameName.certPem, cert + cert, ca.certPem]) {
      await writeFile(site.config.tls.certs, wrong);
      await expect(start(site)).rejects.toThrow(/kms issue-server-cert/);
    }
  });
});
