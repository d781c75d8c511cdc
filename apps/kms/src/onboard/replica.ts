import { raTlsReportData } from "@dstack/attestation";
import { InputError, errorMessage } from "@dstack/core";
import { createClient, unixTransport } from "@dstack/prpc";
import { kms, tappd } from "@dstack/proto";
import { raTlsTransport } from "@dstack/ra-rpc";
import { CertificateAuthority, createRaTlsCertificate, generateP256 } from "@dstack/ra-tls";
import { installRoot, requireEmpty } from "../init/init.js";

export interface OnboardOptions {
  /** `https://host:port` of the admin listener of a KMS that has the root key. */
  readonly from: string;
  /** PEM of its root CA certificate: what is trusted to be that KMS, and what the key must belong to. */
  readonly caPem: string;
  /** One-time token, of `kms onboard-token` there. */
  readonly token: string;
  /** tappd's socket: whose VM this is. */
  readonly tappdSocket: string;
  /** Where keys and certificates go, as `kms init` makes them. */
  readonly dir: string;
  readonly altNames: readonly string[];
}

/**
 * `kms onboard`: makes this VM a replica of a KMS. The root key comes over one RA-TLS connection, against a quote over that
 * connection, and goes to a file that only we can read.
 * @throws {RpcError} the KMS refused
 * @throws {InputError} the answer is not the root it should be, or something is in `dir` already
 */
export async function onboardReplica(options: OnboardOptions): Promise<void> {
  // Before the token is used up.
  await requireEmpty(options.dir);
  await using unix = unixTransport(options.tappdSocket);
  const platform = createClient(tappd.Tappd, unix);
  const key = generateP256();
  const { quote, eventLog } = await platform.rawQuote({ reportData: raTlsReportData(key.publicKeySpki) });
  const { chainPem } = await createRaTlsCertificate({
    key: key.privateKey,
    provider: { getQuote: async () => quote },
    eventLog,
    commonName: "dstack KMS replica",
  });
  await using transport = raTlsTransport({
    url: options.from,
    caPem: options.caPem,
    key: key.privateKeyPem,
    certChain: chainPem,
  });
  const answer = await transport.withSession(async (session) => {
    const client = createClient(kms.KMSAdmin, session);
    const { challenge } = await client.getChallenge();
    const reportData = session.freshReportData("kms-onboard", challenge);
    const evidence = await platform.rawQuote({ reportData });
    return client.onboard({
      token: options.token,
      freshEvidence: { challenge, quote: evidence.quote, eventLog: evidence.eventLog },
    });
  });
  await installRoot(options.dir, readRoot(answer, options.caPem), options.altNames);
}

/** The key is worth nothing, or somebody's trap, if it does not belong to the root that guests measure. */
function readRoot(answer: kms.OnboardResponse, caPem: string): CertificateAuthority {
  try {
    return CertificateAuthority.load(caPem, answer.rootCaKey);
  } catch (err) {
    // Never the text of the answer, which is a key.
    throw new InputError(`the root that was handed over cannot be used: ${errorMessage(err)}`);
  }
}
