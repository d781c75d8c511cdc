import { certificateKeyReportData } from "@dstack/attestation";
import { errorMessage, fromHex, hex, sha256 } from "@dstack/core";
import { RpcError } from "@dstack/prpc";
import { readAcmeAccounts } from "../certificate/acme-account.js";
import type { AdminContext, AdminHandler } from "./admin-context.js";

/** Of a certificate a month with a new key each, eight years. */
const MOST_KEYS = 100;

/** `TproxyAdmin.GetCertificate` */
export const getCertificate =
  ({
    certificates,
    keyHistory,
    keyEvidence,
    acmeAccountFiles,
    baseDomains,
  }: AdminContext): AdminHandler<"getCertificate"> =>
  async () => {
    const account = await readAcmeAccounts(acmeAccountFiles);
    const keys = keyHistory.list();
    const inUse = new Set(certificates.current.map(({ spkiDer }) => hex(sha256(spkiDer))));
    const digests = keys.slice(-MOST_KEYS).map((key) => hex(sha256(key)));
    return {
      baseDomains: [...baseDomains],
      notAfter: BigInt(certificates.notAfterMs),
      refusal: certificates.refusal ?? "",
      certificates: certificates.list().map(({ current, refusal, options }) => ({
        file: options.certPath,
        names: [...(current?.names ?? [])],
        notAfter: BigInt(current?.notAfterMs ?? 0),
        refusal: refusal ?? "",
        keyDigest: current === undefined ? "" : hex(sha256(current.spkiDer)),
      })),
      accountUri: account?.account_uri ?? "",
      caa: account?.caa ?? [],
      canQuote: keyEvidence.canQuote,
      keys: await Promise.all(
        digests.toReversed().map(async (digest) => ({
          digest,
          inUse: inUse.has(digest),
          hasEvidence: await keyEvidence.has(digest),
        })),
      ),
      numKeys: keys.length,
    };
  };

/** `TproxyAdmin.VerifyKey`: what does not pass is an answer, not an error. */
export const verifyKey =
  ({ keyHistory, keyEvidence, verifier }: AdminContext): AdminHandler<"verifyKey"> =>
  async ({ digest }) => {
    const key = keyHistory.list().find((candidate) => hex(sha256(candidate)) === digest);
    if (key === undefined) throw new RpcError("not_found", "no certificate had a key of that digest");
    try {
      const evidence = await keyEvidence.get(digest);
      if (evidence === undefined) return { refusal: "there is no quote for this key" };
      const { appId, instanceId } = await verifier.verifyStatement(
        { quote: fromHex(evidence.quote), eventLog: evidence.event_log },
        certificateKeyReportData(key),
      );
      return { appId, instanceId };
    } catch (err) {
      return { refusal: errorMessage(err) };
    }
  };
