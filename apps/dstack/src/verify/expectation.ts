import { failed, group, notChecked, passed, skipped } from "@dstack/attestation";
import type { AppIdentity, CheckNode } from "@dstack/attestation";
import type { AppId } from "@dstack/core";
import type { Presented } from "./presented.js";

/** Which app the person who verifies expects. What is left out is told, not checked. */
export interface Expectation {
  readonly appId?: AppId;
  /** SHA-256 of the app-compose document, hex, and where the document is from. */
  readonly compose?: { readonly hash: string; readonly from: string };
  /**
   * SHA-256 of the DER of the KMS's root CA certificate, hex. Whoever starts a VM chooses its KMS, and a KMS knows the
   * keys it gives: the right app on the keys of somebody else's KMS keeps nothing from that somebody.
   */
  readonly caCertHash?: string;
  /** It is enough that it is an app on an allowed image, whichever. */
  readonly anyApp?: boolean;
}

/** Compares who the guest is with who it is expected to be. */
export function checkIdentity(
  identity: AppIdentity | undefined,
  expected: Expectation,
  { hostId, certificateAppId, fromApp }: Pick<Presented, "hostId" | "certificateAppId" | "fromApp">,
): CheckNode {
  if (identity === undefined) return skipped("app", "not reached: the guest's identity is not known");
  return group(
    "app",
    [
      checkHost(identity, hostId),
      checkCertificate(identity, certificateAppId),
      checkAppId(identity, expected, hostId),
      checkUpgrade(identity, expected, hostId),
      checkCompose(identity, expected),
      checkKms(identity, expected),
      checkReady(identity, fromApp),
    ].filter((node) => node !== undefined),
  );
}

function checkHost({ appId, instanceId }: AppIdentity, hostId: string | undefined): CheckNode | undefined {
  const check = "host name";
  if (hostId === undefined) return undefined;
  if (hostId === appId) return passed(check, "names this app");
  if (hostId === instanceId) return passed(check, "names this instance");
  return failed(
    check,
    "identity_mismatch",
    `names ${hostId}, the guest is instance ${instanceId} of app ${appId}`,
  );
}

function checkCertificate({ appId }: AppIdentity, claimed: AppId | undefined): CheckNode | undefined {
  const check = "certificate";
  if (claimed === undefined) return undefined;
  if (claimed === appId) return passed(check, "names this app");
  return failed(check, "identity_mismatch", `names app ${claimed}, the guest is of app ${appId}`);
}

function checkAppId(
  { appId }: AppIdentity,
  { appId: wanted, compose, anyApp }: Expectation,
  hostId: string | undefined,
): CheckNode {
  const check = "app id";
  if (wanted !== undefined) {
    return appId === wanted
      ? passed(check, appId)
      : failed(check, "identity_mismatch", `is ${appId}, expected ${wanted}`);
  }
  if (compose !== undefined) {
    const own = compose.hash.slice(0, 40);
    if (appId === own) return passed(check, `${appId}, that of the document`);
    const hint = `an upgraded app keeps its first id: give --app-id ${appId} if that is the app you mean`;
    return failed(check, "identity_mismatch", `is ${appId}, that of ${compose.from} is ${own}; ${hint}`);
  }
  if (hostId !== undefined) return passed(check, `${appId}, as asked for by the host name`);
  if (anyApp === true) return notChecked(check, `it is ${appId}; any app was asked for`);
  return skipped(check, `nobody said which app it must be; it is ${appId}`);
}

/**
 * Whoever starts a VM tells it the app id of an upgraded app, with any document. Only a KMS refuses what was not
 * permitted (K2), so that such an id is worth what the KMS is that gave the keys, and nothing without one.
 */
function checkUpgrade(
  identity: AppIdentity,
  expected: Expectation,
  hostId: string | undefined,
): CheckNode | undefined {
  const check = "upgrade";
  const { appId, upgradedAppId } = identity;
  const isIdOfDocument = appId === upgradedAppId;
  const isIdExpected = expected.appId !== undefined || hostId !== undefined;
  if (isIdOfDocument || !isIdExpected || expected.compose !== undefined) return undefined;
  if (isPermitted(identity, expected)) {
    return passed(check, `the KMS has given the keys of ${appId} to the document of ${upgradedAppId}`);
  }
  return skipped(
    check,
    `it runs the document of ${upgradedAppId} and says it is an upgrade of ${appId}: whoever starts a VM can have it say ` +
      "so, and only a KMS you know refuses upgrades that were not permitted",
  );
}

/** The expected KMS gave keys to this app id with this document. An allowed image measures that once it has them. */
function isPermitted({ caCertHash, keyProvider }: AppIdentity, expected: Expectation): boolean {
  return caCertHash === expected.caCertHash && keyProvider !== undefined;
}

function checkCompose(identity: AppIdentity, expected: Expectation): CheckNode {
  const check = "compose document";
  const { appId, composeHash, upgradedAppId } = identity;
  const { compose } = expected;
  if (compose !== undefined) {
    return composeHash === compose.hash
      ? passed(check, `SHA-256 ${composeHash}, that of ${compose.from}`)
      : failed(
          check,
          "identity_mismatch",
          `has SHA-256 ${composeHash}, that of ${compose.from} is ${compose.hash}`,
        );
  }
  const which =
    upgradedAppId === appId
      ? "it is the one the app id was made of"
      : isPermitted(identity, expected)
        ? "the app was upgraded since it got its id, with its KMS's permission"
        : "it is not the one the app id was made of";
  return notChecked(check, `it has SHA-256 ${composeHash}; ${which}`);
}

function checkKms({ caCertHash }: AppIdentity, { caCertHash: wanted }: Expectation): CheckNode {
  const check = "KMS";
  if (wanted === undefined) {
    return notChecked(
      check,
      `its keys come from the KMS whose CA certificate has SHA-256 ${caCertHash}; whoever runs that KMS knows them`,
    );
  }
  if (caCertHash === wanted) return passed(check, `CA certificate SHA-256 ${caCertHash}`);
  return failed(
    check,
    "identity_mismatch",
    `its CA certificate has SHA-256 ${caCertHash}, expected ${wanted}`,
  );
}

function checkReady({ systemReady }: AppIdentity, fromApp: boolean): CheckNode | undefined {
  const check = "start-up";
  if (!fromApp) return undefined;
  if (systemReady) return passed(check, "the guest gave up the right to ask for keys before the app started");
  return failed(check, "identity_mismatch", "no app runs yet: there is no system-ready event");
}
