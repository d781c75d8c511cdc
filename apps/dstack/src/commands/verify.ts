import { isAppCompose } from "@dstack/app-compose";
import {
  CodedError,
  InputError,
  errorCode,
  errorMessage,
  fromHex,
  hex,
  parseAppId,
  sha256,
} from "@dstack/core";
import type { Missing } from "@dstack/attestation";
import type { Command } from "commander";
import { access } from "node:fs/promises";
import { isIP } from "node:net";
import { Home } from "../local/home.js";
import { CliError, printResult } from "../output.js";
import { readFileBytes, readTextFile } from "../read-file.js";
import { findVm, teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodOptions } from "../teepod.js";
import { certificateIn, presentedCertificate } from "../verify/certificate.js";
import { presentedByEndpoint } from "../verify/endpoint.js";
import type { Expectation } from "../verify/expectation.js";
import { judge, judgeDomain } from "../verify/judge.js";
import { caCertHashOf, verifyLocalApp } from "../verify/local-app.js";
import type { Presented } from "../verify/presented.js";
import { appReportData, isQuote, parseQuoteFile, presentedQuote } from "../verify/quote-file.js";
import { exitCodeOf, formatReport } from "../verify/report.js";
import type { Report } from "../verify/report.js";
import { requireFitting } from "../verify/target.js";
import type { TargetKind } from "../verify/target.js";
import { loadTrust } from "../verify/trust.js";
import { addTeepodOptions, interruptSignal } from "./options.js";

interface VerifyOptions extends TeepodOptions {
  path?: string;
  nonce?: string;
  reportData?: string;
  eventLog?: string;
  appId?: string;
  compose?: string;
  anyApp?: boolean;
  kmsCa?: string;
  image?: string;
  anyAcpi?: boolean;
  policy?: string;
  collateral?: string;
  pccsUrl: string;
  simulatedRoot: string[];
  at?: string;
  dns: string[];
}

/** Intel's Provisioning Certification Service. */
const INTEL_PCS = "https://api.trustedservices.intel.com";

const collect = (value: string, before: string[]): string[] => [...before, value];

function dnsServer(value: string, before: string[]): string[] {
  if (isIP(value.replace(/:\d+$/, "").replace(/^\[(.*)\]$/, "$1")) !== 0) return [...before, value];
  throw new CliError(`--dns ${value} is no IP address, with or without a port`, 2);
}

const TARGETS = `
Targets:
  https://host[:port]/   who answers there: by the RA-TLS certificate of the TLS handshake; with --path, by a quote;
                         else, for a custom domain, by its /evidences/ and the CAA records in DNS
  a file                 a certificate with RA-TLS extensions (PEM or DER), or a quote: what TdxQuote?json answered, hex,
                         or bytes
  anything else          a CVM of the local installation, by name, id or app id

Exit codes:
  0  verified: everything that counts was checked, and is right
  1  refused: something is wrong; REFUSED lines say what
  2  could not tell: nobody answers, there is no evidence or no collateral, or nothing was given to compare with

--image on Intel hardware needs the event log, for the digests of the host's ACPI tables: no image tells them, and the
guest's kernel runs their code. \`dstack measure <dir> --log <log> --policy\` prints registers with those of a VM you
trust, for --policy; --any-acpi takes whatever tables the host has.
What each line means: docs/attestation.md`;

/** `dstack verify`: exit code 0 verified, 1 refused, 2 could not tell. */
export function registerVerify(program: Command): void {
  addTeepodOptions(
    program
      .command("verify")
      .description("verify what an app really is, from TLS key to compose document")
      .argument("<target>", "an https:// address, a file with a certificate or a quote, or a local CVM"),
  )
    .option(
      "--path <path>",
      "where the app answers {quote, event_log} for ?nonce=<hex> (a local CVM: /quote)",
    )
    .option("--compose <file>", "the app-compose document it must run")
    .option("--app-id <hex>", "the app it must be")
    .option("--any-app", "whichever app it is will do")
    .option("--image <dir>", "directory of the guest image it must run on, if on none of --policy")
    .option("--any-acpi", "--image on hardware: whatever ACPI tables the host has will do")
    .option("--policy <file>", "policy in TOML or JSON: images, TCB status, advisories, …")
    .option("--kms-ca <pem>", "root CA certificate of the KMS its keys must come from")
    .option("--nonce <hex>", "quote file: the report_data that was asked for")
    .option("--report-data <hex>", "quote file: the 64 bytes the quote must carry, instead of --nonce")
    .option("--event-log <file>", "quote file: the event log, where the file holds none")
    .option("--collateral <file>", "collateral bundle, instead of fetching")
    .option("--pccs-url <url>", "where collateral is fetched", INTEL_PCS)
    .option("--simulated-root <pem>", "also trust this simulator's root; may be repeated", collect, [])
    .option(
      "--dns <ip[:port]>",
      "server to ask for CAA records; may be repeated (default: those of the domain's zone)",
      dnsServer,
      [],
    )
    .option("--at <time>", "judge as of this time (ISO 8601), with --collateral: for old evidence")
    .addHelpText("after", TARGETS)
    .action(async (target: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<VerifyOptions>();
      const check = (kind: TargetKind): void => requireFitting(kind, command);
      const report = await verify(target, options, check, interruptSignal()).catch((err: unknown) => {
        throw couldNotTell(err);
      });
      printResult(options, report, () => formatReport(report));
      process.exitCode = exitCodeOf(report);
    });
}

/** Whatever kept us from a verdict is no verdict: exit code 2. */
function couldNotTell(err: unknown): unknown {
  if (err instanceof CliError) return new CliError(err.message, 2, { cause: err });
  const expected = err instanceof InputError || err instanceof CodedError || errorCode(err) !== undefined;
  return expected ? new CliError(`could not tell: ${errorMessage(err)}`, 2, { cause: err }) : err;
}

/** @param check told what the target is, before any option counts */
async function verify(
  target: string,
  options: VerifyOptions,
  check: (kind: TargetKind) => void,
  signal: AbortSignal,
): Promise<Report> {
  const isUrl = /^https?:\/\//i.test(target);
  if (!isUrl && !(await exists(target))) {
    check("cvm");
    return verifyVm(target, options, signal);
  }
  if (isUrl) check("endpoint");
  const trust = await loadTrust(options);
  const expected = await expectationOf(options);
  if (!isUrl) return judge(await presentedByFile(target, options, trust.now, check), expected, trust, signal);
  const { path, dns } = options;
  const presented = await presentedByEndpoint(parseUrl(target), { path, dns, now: trust.now, signal });
  return "fresh" in presented
    ? judgeDomain(presented, expected, trust, signal)
    : judge(presented, expected, trust, signal);
}

async function verifyVm(target: string, options: VerifyOptions, signal: AbortSignal): Promise<Report> {
  const home = await Home.openIfAny(Home.locate(options.home));
  if (home?.state.ports === undefined)
    throw new CliError("there is no local installation here, and no such file");
  const vm = await findVm(teepodClient(await teepodAddress(options)), target);
  const { report } = await verifyLocalApp(home, vm, {
    path: options.path ?? "/quote",
    expected: await expectationOf(options),
    signal,
  });
  return report;
}

async function presentedByFile(
  path: string,
  options: VerifyOptions,
  now: number,
  check: (kind: TargetKind) => void,
): Promise<Presented> {
  const bytes = await readFileBytes(path);
  try {
    // A quote holds certificates of its own, as PEM.
    const certificate = isQuote(bytes) ? undefined : certificateIn(bytes);
    check(certificate === undefined ? "quote" : "certificate");
    if (certificate !== undefined) return presentedCertificate(certificate, now);
    const answer = parseQuoteFile(bytes);
    const eventLog = options.eventLog === undefined ? answer.eventLog : await readTextFile(options.eventLog);
    return presentedQuote(
      { ...answer, ...(eventLog === undefined ? {} : { eventLog }) },
      reportDataOf(options),
    );
  } catch (err) {
    if (err instanceof InputError) throw new InputError(`reading ${path}: ${err.message}`, { cause: err });
    throw err;
  }
}

function reportDataOf({ nonce, reportData }: VerifyOptions): Uint8Array | Missing {
  if (reportData !== undefined && nonce !== undefined) {
    throw new CliError("--nonce and --report-data both say what the quote must carry: give one", 2);
  }
  if (reportData !== undefined) return fromHex(reportData, "--report-data", 64);
  if (nonce !== undefined) {
    const bytes = fromHex(nonce, "--nonce");
    // As from a variable that is not set: a quote that was asked for with nothing is anybody's, of any time.
    if (bytes.length === 0)
      throw new CliError("--nonce is empty: give the report_data that was asked for", 2);
    return appReportData(bytes);
  }
  return { missing: "nobody said what it was asked for, so it may be an old one or answer somebody else" };
}

async function expectationOf(options: VerifyOptions): Promise<Expectation> {
  const { appId, compose, kmsCa, anyApp } = options;
  return {
    ...(appId === undefined ? {} : { appId: parseAppId(appId) }),
    ...(compose === undefined ? {} : { compose: await composeOf(compose) }),
    ...(kmsCa === undefined ? {} : { caCertHash: await caCertHashOf(kmsCa) }),
    ...(anyApp === undefined ? {} : { anyApp }),
  };
}

/** The hash is over the exact bytes of the app-compose document. */
async function composeOf(path: string): Promise<NonNullable<Expectation["compose"]>> {
  const text = await readTextFile(path);
  if (!isAppCompose(text)) {
    throw new CliError(
      `${path} is no app-compose document; \`dstack deploy <file> --dry-run\` prints the one a docker-compose file is wrapped in`,
    );
  }
  return { hash: hex(sha256(text)), from: path };
}

function parseUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== "https:") throw new CliError(`${text} is no https:// address`);
  return url;
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}
