import { hex, sha256 } from "@dstack/core";
import type { FastifyInstance } from "fastify";
import { readAcmeAccounts } from "./certificate/acme-account.js";
import type { TproxyContext } from "./context.js";

/**
 * `GET /.dstack/acme-info`: account, CAA and the keys of all certificates ever served. `GET /.dstack/acme-info/<SHA-256 of
 * a key>`: its evidence, 404 where there is none. Public, as `AcmeInfo` is. Evidence is fetched key by key, so that an
 * answer stays small however many keys there were.
 */
export function addAcmeInfo(app: FastifyInstance, context: TproxyContext): void {
  app.get("/.dstack/acme-info", async () => {
    const account = await readAcmeAccounts(context.acmeAccountFiles);
    return {
      base_domain: context.site.baseDomain,
      account_uri: account?.account_uri ?? "",
      accounts: account?.accounts ?? [],
      caa: account?.caa ?? [],
      key_evidence: context.keyEvidence.canQuote
        ? "quotes over SHA-512(zt-cert: and the key), one for each key"
        : "none: this tproxy was given no quote provider, its keys are its word",
      hist_keys: context.keyHistory.list().map(hex),
    };
  });
  app.get<{ Params: { digest: string } }>("/.dstack/acme-info/:digest", async (request, reply) => {
    const { digest } = request.params;
    // Only keys we tell about: nobody probes the state directory.
    const known = context.keyHistory.list().some((key) => hex(sha256(key)) === digest);
    const evidence = known ? await context.keyEvidence.get(digest) : undefined;
    return evidence ?? reply.code(404).send({ error: "there is no evidence for such a key" });
  });
}
