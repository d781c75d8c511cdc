import { parseAppId } from "@dstack/core";
import { CertificateAuthority, appIdExtension, generateP256 } from "@dstack/ra-tls";
import type { P256KeyPair } from "@dstack/ra-tls";
import { describe, expect, it } from "vitest";
import { checkAppKeys } from "../../src/boot/app-keys.js";

const DAY_MS = 86_400_000;
const now = Date.now();
const ours = parseAppId("a".repeat(40));
const theirs = parseAppId("b".repeat(40));
const root = await CertificateAuthority.create({ commonName: "KMS root" });

/** A CA certificate for an app, from the root or from whoever else. */
async function appCa(
  issuer: CertificateAuthority,
  appId: string | undefined,
): Promise<{ pair: P256KeyPair; certPem: string }> {
  const pair = generateP256();
  const certPem = await issuer.issue({
    publicKey: pair.publicKey,
    commonName: "an app",
    ca: { pathLength: 1 },
    ...(appId === undefined ? {} : { extensions: [appIdExtension(parseAppId(appId))] }),
    notAfter: new Date(now + DAY_MS),
  });
  return { pair, certPem };
}

function check(appKey: string, certificateChain: string[], at = now) {
  const answer = {
    $typeName: "kms.AppKeyResponse" as const,
    appKey,
    certificateChain,
    diskCryptKey: new Uint8Array(32).fill(1),
    envCryptKey: new Uint8Array(32).fill(2),
    k256Key: new Uint8Array(0),
    k256Signature: new Uint8Array(0),
  };
  return checkAppKeys(answer, root.certPem, ours, at);
}

describe("checkAppKeys", () => {
  it("takes this app's key under the measured CA, with and without the CA in the chain", async () => {
    const { pair, certPem } = await appCa(root, ours);
    expect(check(pair.privateKeyPem, [certPem, root.certPem]).certificateChain).toHaveLength(2);
    expect(check(pair.privateKeyPem, [certPem]).appKey).toBe(pair.privateKeyPem);
  });

  it("K3: refuses the keys of another app of the same KMS", async () => {
    const { pair, certPem } = await appCa(root, theirs);
    expect(() => check(pair.privateKeyPem, [certPem, root.certPem])).toThrow("not issued for this app");
    const unnamed = await appCa(root, undefined);
    expect(() => check(unnamed.pair.privateKeyPem, [unnamed.certPem])).toThrow("not issued for this app");
  });

  it("K3: refuses a CA in this app's name that another app's CA issued", async () => {
    const { pair: theirPair, certPem: theirPem } = await appCa(root, theirs);
    const their = CertificateAuthority.load(theirPem, theirPair.privateKeyPem);
    const { pair, certPem } = await appCa(their, ours);
    expect(() => check(pair.privateKeyPem, [certPem, theirPem, root.certPem])).toThrow("3 certificates");
    expect(() => check(pair.privateKeyPem, [certPem, theirPem])).toThrow("ends at another certificate");
    expect(() => check(pair.privateKeyPem, [certPem])).toThrow("not signed by the measured CA");
  });

  it("refuses what does not belong together", async () => {
    const { pair, certPem } = await appCa(root, ours);
    expect(() => check(generateP256().privateKeyPem, [certPem])).toThrow("does not belong to the first");
    expect(() => check(pair.privateKeyPem, [])).toThrow("0 certificates");
    expect(() => check(pair.privateKeyPem, [certPem], now + 2 * DAY_MS)).toThrow("not valid now");
    expect(() => check(pair.privateKeyPem, ["nonsense"])).toThrow("keys from the KMS");
  });
});
