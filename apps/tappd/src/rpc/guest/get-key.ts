import type { dstackGuest } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import { deriveGuestKeyV0 } from "@dstack/ra-tls";
import type { TappdContext } from "../../context.js";
import { parseKeyAlgorithm, requireK256Key, requirePath } from "../requests.js";

/** The key of a path, always the same for this app, with the chain: app key over it, KMS root over the app key. */
export const getKey =
  (
    context: TappdContext,
  ): Handler<typeof dstackGuest.GetKeyRequestSchema, typeof dstackGuest.GetKeyResponseSchema> =>
  async (request) => {
    const { key, signatureChain } = deriveGuestKeyV0(requireK256Key(context.keys), {
      path: requirePath(request.path),
      purpose: request.purpose,
      algorithm: parseKeyAlgorithm(request.algorithm),
    });
    return { key, signatureChain: [...signatureChain] };
  };
