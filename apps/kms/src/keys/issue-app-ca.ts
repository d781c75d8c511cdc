import type { AppId } from "@dstack/core";
import { appIdExtension } from "@dstack/ra-tls";
import type { P256KeyPair } from "@dstack/ra-tls";
import type { RootKeys } from "./root-keys.js";

/** An app's CA lives this long, or as long as the root if that is shorter: a VM may run for years between boots. */
const APP_CA_LIFETIME_MS = 3650 * 86_400_000;

/** The CA of an app may have one more CA below it: an instance may run its own. */
const APP_CA_PATH_LENGTH = 1;

/**
 * Issues the CA certificate of an app. The quote it was issued for is in the issue log, not in the certificate.
 * @returns PEM certificates, the app's CA first
 */
export async function issueAppCa(
  root: RootKeys,
  app: P256KeyPair,
  appId: AppId,
  subjectPostfix: string,
): Promise<{ leaf: string; chain: string[] }> {
  const notAfter = new Date(Math.min(Date.now() + APP_CA_LIFETIME_MS, root.ca.notAfter.getTime()));
  const leaf = await root.ca.issue({
    publicKey: app.publicKey,
    commonName: `${appId}${subjectPostfix}`,
    ca: { pathLength: APP_CA_PATH_LENGTH },
    extensions: [appIdExtension(appId)],
    notAfter,
  });
  return { leaf, chain: [leaf, ...root.ca.chain] };
}
