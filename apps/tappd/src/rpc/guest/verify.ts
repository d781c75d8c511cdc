import type { dstackGuest } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import { parseSignatureAlgorithm, verifyWith } from "../../keys/app-signatures.js";

/** Checks one signature against a public key the caller has. It says nothing about whose key that is. */
export const verify =
  (): Handler<typeof dstackGuest.VerifyRequestSchema, typeof dstackGuest.VerifyResponseSchema> =>
  async ({ algorithm, publicKey, data, signature }) => ({
    valid: verifyWith(parseSignatureAlgorithm(algorithm), publicKey, data, signature),
  });
