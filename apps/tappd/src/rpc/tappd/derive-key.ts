import { deriveKeyFromApp } from "@dstack/ra-tls";
import type { tappd } from "@dstack/proto";
import type { Handler } from "@dstack/prpc";
import type { TappdContext } from "../../context.js";
import { commonNameOf, defaultNotAfter, requireAltNames, requirePath } from "../requests.js";

/** The P-256 key of a path, always the same for this app, with a certificate from the app's CA. */
export const deriveKey =
  (
    context: TappdContext,
  ): Handler<typeof tappd.DeriveKeyRequestSchema, typeof tappd.DeriveKeyResponseSchema> =>
  async (request) => {
    const { keys, log } = context;
    const altNames = requireAltNames(request.altNames);
    const pair = deriveKeyFromApp(keys.ca.key, requirePath(request.path), (attempt) =>
      log.warn({ attempt }, "a derived value was no P-256 key, deriving again"),
    );
    const certificate = await keys.ca.issue({
      publicKey: pair.publicKey,
      commonName: commonNameOf(request.subject, keys.appId),
      altNames,
      usages: ["serverAuth", "clientAuth"],
      notAfter: defaultNotAfter(keys),
    });
    return { key: pair.privateKeyPem, certificateChain: [certificate, ...keys.ca.chain] };
  };
