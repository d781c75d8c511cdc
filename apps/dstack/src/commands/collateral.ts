import { INTEL_ROOT, parseQuote, quoteCollateralKeys, simulatedAnchor } from "@dstack/attestation";
import type { Collateral, CollateralKeys, TrustAnchor } from "@dstack/attestation";
import { InputError, errorMessage, writeFileAtomic } from "@dstack/core";
import { CollateralClient, formatCollateralBundle, parseCollateralBundle } from "@dstack/ra-tls";
import { InvalidArgumentError, Option } from "commander";
import type { Command } from "commander";
import { stat } from "node:fs/promises";
import { dirname, resolve } from "node:path";
import { describeCollateral, formatPlatform } from "../collateral/describe.js";
import { CliError, printResult } from "../output.js";
import type { GlobalOptions } from "../output.js";
import { readCertificates, readFileBytes, readTextFile } from "../read-file.js";
import { parseQuoteFile } from "../verify/quote-file.js";
import { interruptSignal } from "./options.js";

const INTEL_PCS = "https://api.trustedservices.intel.com";

const collect = (value: string, before: string[]): string[] => [...before, value];

interface AnchorOptions extends GlobalOptions {
  simulatedRoot: string[];
}

interface FetchOptions extends AnchorOptions {
  quote: string[];
  fmspc: string[];
  ca?: "platform" | "processor";
  url: string;
  tlsCa?: string;
  rootCrlUrl?: string;
  update?: "early" | "standard";
  output: string;
}

interface ShowOptions extends AnchorOptions {
  at?: number;
}

/** `dstack collateral fetch|show`: Intel's documents in a file, to verify quotes without a network. */
export function registerCollateral(program: Command): void {
  const collateral = program
    .command("collateral")
    .description("get Intel's documents that quotes are judged by into a file, or look at them");
  registerFetch(collateral);
  registerShow(collateral);
}

function registerFetch(collateral: Command): void {
  collateral
    .command("fetch")
    .description("fetch and verify the collateral of platforms, for `dstack verify --collateral`")
    .option(
      "--quote <file>",
      "a quote of the platform: bytes, hex or what TdxQuote?json answered",
      collect,
      [],
    )
    .option("--fmspc <hex>", "the platform's FMSPC, 12 hex digits; with --ca", fmspcList, [])
    .addOption(
      new Option("--ca <name>", "who issued the platform's PCK certificate").choices([
        "platform",
        "processor",
      ]),
    )
    .option("--url <url>", "Intel's PCS or a PCCS", httpUrl, INTEL_PCS)
    .option("--tls-ca <pem>", "what the service's TLS certificate must chain to; a PCCS has its own")
    .option(
      "--root-crl-url <url>",
      "where the root CA's CRL is, if not at the service's usual place",
      httpUrl,
    )
    .addOption(new Option("--update <channel>", "Intel's channel of TCB info").choices(["early", "standard"]))
    .option("--simulated-root <pem>", "also trust this simulator's root; may be repeated", collect, [])
    .requiredOption("-o, --output <file>", "where the bundle goes")
    .action(async (_: unknown, command: Command) => fetchBundle(command.optsWithGlobals<FetchOptions>()));
}

function registerShow(collateral: Command): void {
  collateral
    .command("show")
    .description(
      "what a bundle holds, until when, and whether it is good now (exit code 1 if it is not, 2 if it is none)",
    )
    .argument("<bundle>", "file with the nine fields, or an array of such objects")
    .option("--simulated-root <pem>", "also trust this simulator's root; may be repeated", collect, [])
    .option("--at <time>", "check as of this time, such as 2026-01-31T12:00:00Z", unixTime)
    .action(async (path: string, _: unknown, command: Command) =>
      showBundle(path, command.optsWithGlobals<ShowOptions>()),
    );
}

async function fetchBundle(options: FetchOptions): Promise<void> {
  const anchors = await readAnchors(options.simulatedRoot);
  const tlsCa = options.tlsCa === undefined ? undefined : await readCertificates(options.tlsCa);
  const platforms = await platformsOf(options, anchors);
  const client = new CollateralClient({
    url: options.url,
    anchors,
    tlsCa,
    rootCrlUrl: options.rootCrlUrl,
    update: options.update,
  });
  await requireDirectory(options.output);
  const signal = interruptSignal();
  const now = Math.floor(Date.now() / 1000);
  const bundle: Collateral[] = [];
  for (const keys of platforms) bundle.push(await client.get(keys, now, signal));
  await writeFileAtomic(resolve(options.output), formatCollateralBundle(bundle));
  const reports = bundle.map((one) => describeCollateral(one, anchors, now));
  printResult(options, { file: options.output, platforms: reports }, () =>
    [...reports.map(formatPlatform), `written to ${options.output}`].join("\n"),
  );
}

async function showBundle(path: string, options: ShowOptions): Promise<void> {
  const anchors = await readAnchors(options.simulatedRoot);
  const now = options.at ?? Math.floor(Date.now() / 1000);
  const bundle = await readBundle(path);
  const reports = bundle.map((one) => describeCollateral(one, anchors, now));
  printResult(options, { file: path, at: now, platforms: reports }, () =>
    reports.map(formatPlatform).join("\n\n"),
  );
  if (reports.some((report) => report.refused !== undefined)) process.exitCode = 1;
}

/** @throws {CliError} exit code 2, for 1 is a bundle that is not good */
async function readBundle(path: string): Promise<Collateral[]> {
  try {
    return parseCollateralBundle(await readTextFile(path));
  } catch (err) {
    const message = errorMessage(err);
    throw new CliError(message.includes(path) ? message : `${path}: ${message}`, 2, { cause: err });
  }
}

/** Before anything is fetched. */
async function requireDirectory(file: string): Promise<void> {
  const dir = dirname(resolve(file));
  const found = await stat(dir).catch(() => undefined);
  if (found?.isDirectory() !== true) throw new CliError(`--output: there is no directory ${dir}`, 2);
}

/** Each platform once. */
async function platformsOf(
  options: FetchOptions,
  anchors: readonly TrustAnchor[],
): Promise<CollateralKeys[]> {
  const platforms = new Map<string, CollateralKeys>();
  const add = (keys: CollateralKeys): unknown =>
    platforms.set(`${keys.fmspc.toLowerCase()}-${keys.ca}`, keys);
  for (const path of options.quote) {
    const bytes = await readFileBytes(path);
    try {
      add(quoteCollateralKeys(parseQuote(parseQuoteFile(bytes).quote), anchors));
    } catch (err) {
      throw new InputError(`${path}: ${errorMessage(err)}`, { cause: err });
    }
  }
  const { fmspc, ca } = options;
  if (fmspc.length > 0 && ca === undefined) {
    throw new CliError(
      "give --ca platform or --ca processor with --fmspc; server platforms have `platform`",
      2,
    );
  }
  if (ca !== undefined) for (const one of fmspc) add({ fmspc: one, ca });
  if (platforms.size === 0) throw new CliError("give --quote <file>, or --fmspc <hex> with --ca", 2);
  return [...platforms.values()];
}

async function readAnchors(simulatedRoots: readonly string[]): Promise<TrustAnchor[]> {
  const anchors = [INTEL_ROOT];
  for (const path of simulatedRoots) {
    const pem = await readTextFile(path);
    try {
      anchors.push(simulatedAnchor(pem));
    } catch (err) {
      throw new CliError(`--simulated-root ${path}: ${errorMessage(err)}`, 2, { cause: err });
    }
  }
  return anchors;
}

function fmspcList(text: string, before: string[]): string[] {
  if (!/^[0-9a-fA-F]{12}$/.test(text)) throw new InvalidArgumentError("must be 12 hex digits.");
  return [...before, text];
}

function httpUrl(text: string): string {
  if (!URL.canParse(text) || !/^https?:$/.test(new URL(text).protocol))
    throw new InvalidArgumentError(`must be a URL such as ${INTEL_PCS}.`);
  return text;
}

function unixTime(text: string): number {
  const seconds = Date.parse(text) / 1000;
  if (!Number.isInteger(seconds) || seconds < 0) {
    throw new InvalidArgumentError("must be a time such as 2026-01-31T12:00:00Z.");
  }
  return seconds;
}
