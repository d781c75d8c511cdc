import { InputError, fromHex, hex, parseAppId, sha256, utf8 } from "@dstack/core";
import type { AppId } from "@dstack/core";
import {
  QuoteError,
  PolicyConfig,
  INTEL_ROOT,
  allowedImage,
  parseQuote,
  quoteCollateralKeys,
  simulatedAnchor,
} from "@dstack/attestation";
import type { TrustAnchor } from "@dstack/attestation";
import { CollateralClient, pemToDer } from "@dstack/ra-tls";
import { measureImage } from "@dstack/tdx-attest";
import type { teepod } from "@dstack/proto";
import { randomBytes } from "node:crypto";
import { readFile } from "node:fs/promises";
import { basename, join } from "node:path";
import { z } from "zod";
import { fetchApp } from "../local/fetch-app.js";
import { imagesDir } from "../local/guest-image.js";
import { BASE_DOMAIN } from "../local/home.js";
import type { Home } from "../local/home.js";
import { CliError } from "../output.js";
import { appReportData, verifyAppQuote } from "./app-quote.js";
import type { AppQuote, Expectation, VerifyReport } from "./app-quote.js";

/** What `Tappd.TdxQuote?json` answers. */
const QuoteAnswer = z.looseObject({ quote: z.string(), event_log: z.string() });

/** Reads the JSON of a quote answer. @throws {InputError} other text */
export function parseQuoteAnswer(text: string): AppQuote {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new InputError("the quote is not JSON with the fields quote and event_log");
  }
  const parsed = QuoteAnswer.safeParse(value);
  if (!parsed.success) throw new InputError("the quote has no text fields quote and event_log");
  return { quote: fromHex(parsed.data.quote, "quote"), eventLog: parsed.data.event_log };
}

export interface Trust {
  pccsUrl: string;
  /** PEM files of simulator roots to trust beside Intel's. */
  simulatedRoots: readonly string[];
  /** Directory of the guest image that is allowed. */
  imageDir: string;
}

/** Verifies a quote against collateral from a PCCS and the measurements of one image. */
export async function verifyWith(
  quote: AppQuote,
  expected: Expectation,
  trust: Trust,
): Promise<VerifyReport> {
  const anchors: TrustAnchor[] = [INTEL_ROOT];
  for (const path of trust.simulatedRoots) anchors.push(simulatedAnchor(await readFile(path, "utf8")));
  const now = Math.floor(Date.now() / 1000);
  let keys;
  try {
    keys = quoteCollateralKeys(parseQuote(quote.quote), anchors);
  } catch (err) {
    // Not a quote, or nobody we trust vouches for it: refused before anything is fetched.
    if (!(err instanceof QuoteError)) throw err;
    return { verified: false, checks: [{ name: "quote", ok: false, detail: err.message }] };
  }
  const collateral = await new CollateralClient({ url: trust.pccsUrl, anchors }).get(keys, now);
  const launch = await measureImage(trust.imageDir);
  const policy = PolicyConfig.parse({
    insecure_simulated_roots: trust.simulatedRoots,
    images: { allowed: [allowedImage(basename(trust.imageDir), launch)] },
  });
  return verifyAppQuote(quote, expected, { collateral, anchors, policy, now });
}

/** What a guest measures as `ca-cert-hash` when it is given this PEM file. */
export async function caCertHashOf(path: string): Promise<string> {
  return hex(sha256(pemToDer(await readFile(path, "utf8"))));
}

export interface LocalVerification {
  report: VerifyReport;
  nonce: string;
}

/** Host name of an app's default port behind the local tproxy. */
export const appHost = (appId: string): string => `${appId}.${BASE_DOMAIN}`;

/**
 * Asks an app behind the local tproxy for a quote over a fresh nonce, and verifies it against the compose document
 * that was deployed and the image it was to run on.
 * @throws {CliError} the app does not answer (exit code 2: nothing was refused, nothing is known)
 */
export async function verifyLocalApp(
  home: Home,
  vm: teepod.VmInfo,
  path: string,
  signal: AbortSignal,
): Promise<LocalVerification> {
  const configuration = vm.configuration;
  if (configuration === undefined) throw new CliError("teepod does not tell the VM's configuration", 2);
  const appId: AppId = parseAppId(vm.appId);
  const nonce = randomBytes(32);
  const separator = path.includes("?") ? "&" : "?";
  const answer = await fetchApp({
    host: appHost(appId),
    address: "127.0.0.1",
    port: home.ports.proxy,
    ca: await readFile(home.path("proxy", "ca.pem"), "utf8"),
    path: `${path}${separator}nonce=${nonce.toString("hex")}`,
    signal,
  }).catch((err: unknown) => {
    throw new CliError(`the app does not answer: ${err instanceof Error ? err.message : String(err)}`, 2, {
      cause: err,
    });
  });
  if (answer.status !== 200)
    throw new CliError(`the app answers ${answer.status} on ${path}: it gives no quote there`, 2);
  const composeBytes = utf8(configuration.composeFile);
  const report = await verifyWith(
    parseQuoteAnswer(answer.body),
    {
      reportData: appReportData(nonce),
      appId,
      composeHash: hex(sha256(composeBytes)),
      caCertHash: await caCertHashOf(home.path("kms", "certs", "root-ca.pem")),
    },
    {
      pccsUrl: `http://127.0.0.1:${home.ports.pcs}`,
      simulatedRoots: [home.path("simulated-root.pem")],
      imageDir: join(imagesDir(), configuration.image),
    },
  );
  return { report, nonce: nonce.toString("hex") };
}
