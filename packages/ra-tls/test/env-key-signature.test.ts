import { describe, expect, it } from "vitest";
import { parseAppId } from "@dstack/core";
import { CertificateAuthority, requireEnvKeyOfKms, signEnvKey } from "../src/index.js";

const APP = parseAppId("ab".repeat(20));
const OTHER = parseAppId("cd".repeat(20));

describe("the signature of an environment's key", () => {
  it("K7: holds for this app, this key and this root only", async () => {
    const root = await CertificateAuthority.create({ commonName: "root" });
    const stranger = await CertificateAuthority.create({ commonName: "root" });
    const publicKey = new Uint8Array(32).fill(7);
    const rootSignature = signEnvKey(root.key, APP, publicKey);
    requireEnvKeyOfKms(root.certPem, APP, { publicKey, rootSignature });
    const refused = (
      pem: string,
      app: typeof APP,
      answer: { publicKey?: Uint8Array; rootSignature?: Uint8Array },
    ) =>
      expect(() => requireEnvKeyOfKms(pem, app, { publicKey, rootSignature, ...answer })).toThrow(/signed/);
    refused(stranger.certPem, APP, {});
    refused(root.certPem, OTHER, {});
    refused(root.certPem, APP, { publicKey: new Uint8Array(32).fill(8) });
    refused(root.certPem, APP, { rootSignature: new Uint8Array() });
    refused(root.certPem, APP, { rootSignature: rootSignature.subarray(1) });
    refused(root.certPem, APP, { rootSignature: rootSignature.with(3, (rootSignature[3] ?? 0) ^ 1) });
  });
});
