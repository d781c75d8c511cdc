/** What an operator of the KMS runs, in the directory `build.sh` made, to let an app have another compose document. */
export function allowCommand(appId: string, upgradedAppId: string): string {
  return `./kms-allow-upgrade.sh ${appId} ${upgradedAppId}`;
}
