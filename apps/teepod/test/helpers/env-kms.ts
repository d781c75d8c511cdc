import { hex, parseAppId, sha256 } from "@dstack/core";
import { CertificateAuthority, signEnvKey, x25519PublicKey } from "@dstack/ra-tls";
import type { EnvKeySource } from "../../src/index.js";

/** A KMS of which only the keys for secrets are real. */
export class EnvKms implements EnvKeySource {
  readonly secret = sha256("the app's secret key");

  private constructor(
    readonly root: CertificateAuthority,
    /** Who signs, when it is not the root. */
    public signer: CertificateAuthority,
  ) {}

  static async make(): Promise<EnvKms> {
    const root = await CertificateAuthority.create({ commonName: "kms" });
    return new EnvKms(root, root);
  }

  async envKey(appId: string) {
    const publicKey = x25519PublicKey(this.secret);
    return { publicKey, rootSignature: signEnvKey(this.signer.key, parseAppId(appId), publicKey) };
  }

  get fingerprint(): string {
    return (hex(sha256(this.root.certDer)).toUpperCase().match(/../g) ?? []).join(":");
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}
