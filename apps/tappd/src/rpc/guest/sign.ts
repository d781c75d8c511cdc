import type { dstackGuest } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import { deriveGuestKeyV0 } from "@dstack/ra-tls";
import type { TappdContext } from "../../context.js";
import { parseSignatureAlgorithm, signWith } from "../../keys/app-signatures.js";
import { requireK256Key } from "../requests.js";

/** Path and purpose of the signing key are fixed in the published agents; verifiers rebuild the chain with them. */
export const SIGNING_KEY = { path: "vms", purpose: "signing" } as const;

/** Signs with the app's signing key. The chain: this signature, app key over the signing key, KMS root over the app key. */
export const sign =
  (
    context: TappdContext,
  ): Handler<typeof dstackGuest.SignRequestSchema, typeof dstackGuest.SignResponseSchema> =>
  async (request) => {
    const algorithm = parseSignatureAlgorithm(request.algorithm);
    const { key, publicKey, signatureChain } = deriveGuestKeyV0(requireK256Key(context.keys), {
      ...SIGNING_KEY,
      algorithm: algorithm === "ed25519" ? "ed25519" : "secp256k1",
    });
    const signature = signWith(algorithm, key, request.data);
    return { signature, signatureChain: [signature, ...signatureChain], publicKey };
  };
