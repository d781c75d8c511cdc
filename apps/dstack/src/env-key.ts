import { errorCode, parseAppId, readRegularFileIfAny } from "@dstack/core";
import type { AppId } from "@dstack/core";
import { encryptEnv, requireEnvKeyOfKms } from "@dstack/ra-tls";
import type { EnvVariable } from "@dstack/ra-tls";
import { readHosts } from "./hosts.js";
import { Home } from "./local/home.js";
import { CliError, printable } from "./output.js";
import { readTextFile, requireCertificate } from "./read-file.js";
import type { TeepodClient, TeepodOptions } from "./teepod.js";

const MAX_CA_BYTES = 64 * 1024;

export interface KmsCaOptions extends TeepodOptions {
  /** PEM file of the KMS root CA; default: the host's, else `DSTACK_KMS_CA`, else the local installation's. */
  kmsCa?: string;
}

export interface MeantAppOptions extends KmsCaOptions {
  /** Whose CVM it is, from whoever deployed it. */
  appId?: string;
}

/**
 * The app that new variables of a CVM are encrypted to. Which app a CVM is, its teepod says, and it could name an app of
 * its own: the KMS signs the keys of all apps. Only the local installation's is believed (K7).
 * @param wanted what the CVM was asked for by: its app id will do
 * @throws {CliError} the app is not known from here, or is another one
 */
export function meantApp(
  vm: { readonly name: string; readonly appId: string },
  wanted: string,
  options: MeantAppOptions,
): AppId {
  const known = namedApp(wanted, options);
  if (known === undefined) {
    if (isLocal(options)) return parseAppId(vm.appId);
    throw new CliError(
      `say which app ${wanted} is, for its teepod could name another one: --app-id <id>, as \`dstack deploy\` told it`,
      2,
    );
  }
  const appId = parseAppId(known);
  if (appId !== vm.appId)
    throw new CliError(
      `the teepod says that ${wanted} is the app ${printable(vm.appId)}, not ${appId}: nothing was encrypted, and nothing changed`,
    );
  return appId;
}

/** The app that a CVM was asked for by, if it was. */
export function namedApp(wanted: string, options: MeantAppOptions): string | undefined {
  return options.appId ?? (/^[0-9a-f]{40}$/.test(wanted) ? wanted : undefined);
}

/** Whether the teepod of the installation here is meant. */
function isLocal(options: TeepodOptions): boolean {
  return (options.host ?? process.env["DSTACK_TEEPOD_URL"]) === undefined;
}

/** The root CA of the KMS one means, from this machine: a host could name its own. @throws {CliError} none is known */
async function kmsRootCa(options: KmsCaOptions): Promise<string> {
  const wanted = options.host ?? process.env["DSTACK_TEEPOD_URL"];
  const ofHost = wanted === undefined ? undefined : (await readHosts()).get(wanted)?.kms_ca;
  const file = options.kmsCa ?? ofHost ?? process.env["DSTACK_KMS_CA"];
  const pem = file === undefined ? await localRootCa(options) : await readTextFile(file);
  if (pem === undefined) {
    throw new CliError(
      "variables are encrypted to a key that the KMS has signed, and no KMS is known here: give --kms-ca <its root CA's " +
        "PEM file> or set DSTACK_KMS_CA",
      2,
    );
  }
  requireCertificate(file ?? "the local installation's root CA", pem);
  return pem;
}

/** Of the installation here, when it is its teepod that is meant. */
async function localRootCa(options: TeepodOptions): Promise<string | undefined> {
  if (!isLocal(options)) return undefined;
  const home = await Home.openIfAny(Home.locate(options.home));
  const bytes = await readRegularFileIfAny(
    home?.path("kms", "certs", "root-ca.pem") ?? "",
    MAX_CA_BYTES,
  ).catch((err: unknown) => {
    if (errorCode(err) === "ENOENT") return undefined;
    throw err;
  });
  return bytes === undefined ? undefined : new TextDecoder().decode(bytes);
}

/** The variables, encrypted to the app: the host that carries them cannot read them (K7). */
export async function sealVariables(
  client: TeepodClient,
  appId: AppId,
  variables: readonly EnvVariable[],
  options: KmsCaOptions,
): Promise<Uint8Array> {
  const rootCa = await kmsRootCa(options);
  const answer = await client.getAppEnvEncryptPubKey({ appId });
  requireEnvKeyOfKms(rootCa, appId, answer);
  return encryptEnv(answer.publicKey, variables);
}
