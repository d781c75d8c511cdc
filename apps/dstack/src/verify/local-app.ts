import { hex, parseAppId, sha256, utf8 } from "@dstack/core";
import type { teepod } from "@dstack/proto";
import { pemToDer } from "@dstack/ra-tls";
import { join } from "node:path";
import { imagesDir } from "../local/guest-image.js";
import { BASE_DOMAIN } from "../local/home.js";
import type { Home } from "../local/home.js";
import { CliError } from "../output.js";
import { readTextFile } from "../read-file.js";
import { requestQuote } from "./endpoint.js";
import type { Expectation } from "./expectation.js";
import { judge } from "./judge.js";
import type { Report } from "./report.js";
import { loadTrust } from "./trust.js";

/** What a guest measures as `ca-cert-hash` when it is given this PEM file. */
export async function caCertHashOf(path: string): Promise<string> {
  return hex(sha256(pemToDer(await readTextFile(path))));
}

/** Host name of an app's default port behind the local tproxy. */
export const appHost = (appId: string): string => `${appId}.${BASE_DOMAIN}`;

/**
 * Asks an app behind the local tproxy for a quote over a fresh nonce, and verifies it against the compose document
 * that was deployed and the image it was to run on.
 * @param options.path where the app answers `{quote, event_log}` for `?nonce=<hex>`
 * @param options.expected what to expect instead of what teepod and this installation say
 * @throws {CliError} the app does not answer (exit code 2: nothing was refused, nothing is known)
 */
export async function verifyLocalApp(
  home: Home,
  vm: teepod.VmInfo,
  options: {
    readonly path: string;
    readonly expected?: Expectation;
    readonly signal: AbortSignal;
  },
): Promise<{ report: Report; nonce: string }> {
  const { path, signal } = options;
  const { configuration } = vm;
  if (configuration === undefined) throw new CliError("teepod does not tell the VM's configuration", 2);
  const presented = await requestQuote({
    host: appHost(vm.appId),
    address: "127.0.0.1",
    port: home.ports.proxy,
    ca: await readTextFile(home.path("proxy", "ca.pem")),
    path,
    signal,
  });
  const trust = await loadTrust({
    pccsUrl: `http://127.0.0.1:${home.ports.pcs}`,
    simulatedRoot: [home.path("simulated-root.pem")],
    image: join(imagesDir(), configuration.image),
  });
  const ownKms = await caCertHashOf(home.path("kms", "certs", "root-ca.pem"));
  const expected = expectationOfVm(vm.appId, configuration.composeFile, ownKms, options.expected);
  return { report: await judge(presented, expected, trust, signal), nonce: presented.nonce };
}

/** What a local VM must be: what the installation says of it, unless the person who verifies says otherwise. */
export function expectationOfVm(
  appId: string,
  composeFile: string,
  caCertHash: string,
  given: Expectation = {},
): Expectation {
  const compose = { hash: hex(sha256(utf8(composeFile))), from: "what teepod has deployed" };
  return { appId: parseAppId(appId), compose, caCertHash, ...given };
}
