import { InputError, errorCode, fromHex, hex, sha256 } from "@dstack/core";
import type { Command } from "commander";
import { access } from "node:fs/promises";
import { Home } from "../local/home.js";
import { CliError, printResult } from "../output.js";
import { readTextFile } from "../read-file.js";
import { findVm, teepodAddress, teepodClient } from "../teepod.js";
import type { TeepodOptions } from "../teepod.js";
import { appReportData, formatReport } from "../verify/app-quote.js";
import type { VerifyReport } from "../verify/app-quote.js";
import { caCertHashOf, parseQuoteAnswer, verifyLocalApp, verifyWith } from "../verify/local-app.js";
import { addTeepodOptions, interruptSignal } from "./options.js";

interface VerifyOptions extends TeepodOptions {
  path: string;
  nonce?: string;
  reportData?: string;
  compose?: string;
  kmsCa?: string;
  image?: string;
  pccsUrl: string;
  simulatedRoot: string[];
}

/** Intel's Provisioning Certification Service. */
const INTEL_PCS = "https://api.trustedservices.intel.com";

const collect = (value: string, before: string[]): string[] => [...before, value];

/** `dstack verify`: exit code 0 verified, 1 refused, 2 could not tell. */
export function registerVerify(program: Command): void {
  addTeepodOptions(
    program
      .command("verify")
      .description("verify what an app really is: exit code 0 verified, 1 refused, 2 could not tell")
      .argument("<target>", "a CVM of the local installation, or a file with what TdxQuote?json answered"),
  )
    .option("--path <path>", "for a CVM: where the app answers {quote, event_log} for ?nonce=<hex>", "/quote")
    .option("--nonce <hex>", "for a file: the report_data that was asked for")
    .option("--report-data <hex>", "for a file: the 64 bytes the quote must carry, instead of --nonce")
    .option("--compose <file>", "for a file: the app-compose document it must run")
    .option("--kms-ca <pem>", "for a file: root CA certificate of the KMS its keys must come from")
    .option("--image <dir>", "for a file: directory of the guest image it must run on")
    .option("--pccs-url <url>", "for a file: where collateral is fetched", INTEL_PCS)
    .option(
      "--simulated-root <pem>",
      "for a file: also trust this simulator's root; may be repeated",
      collect,
      [],
    )
    .addHelpText(
      "after",
      "\nThe measurements of an image are computed as the simulated platform takes them; for a quote of real hardware\n" +
        "compare MRTD and RTMR0-2 yourself.",
    )
    .action(async (target: string, _: unknown, command: Command) => {
      const options = command.optsWithGlobals<VerifyOptions>();
      const isFile = await access(target).then(
        () => true,
        () => false,
      );
      let report: VerifyReport;
      try {
        report = isFile ? await verifyFile(target, options) : await verifyVm(target, options);
      } catch (err) {
        if (err instanceof CliError) throw new CliError(err.message, 2, { cause: err });
        if (err instanceof InputError || errorCode(err) !== undefined)
          throw new CliError(`could not tell: ${(err as Error).message}`, 2, { cause: err });
        throw err;
      }
      printResult(options, report, () => formatReport(report));
      if (!report.verified) process.exitCode = 1;
    });
}

async function verifyVm(target: string, options: VerifyOptions): Promise<VerifyReport> {
  const home = await Home.openIfAny(Home.locate(options.home));
  if (home?.state.ports === undefined)
    throw new CliError("there is no local installation here, and no such file");
  const vm = await findVm(teepodClient(await teepodAddress(options)), target);
  const { report } = await verifyLocalApp(home, vm, options.path, interruptSignal());
  return report;
}

async function verifyFile(path: string, options: VerifyOptions): Promise<VerifyReport> {
  if (options.image === undefined)
    throw new CliError("give --image <dir>: without it nobody knows what ran in the VM");
  const given = options.reportData ?? options.nonce;
  if (given === undefined)
    throw new CliError("give --nonce <hex> or --report-data <hex>: without it the quote may be an old one");
  const reportData =
    options.reportData === undefined
      ? appReportData(fromHex(given, "nonce"))
      : fromHex(given, "report data", 64);
  const composeHash =
    options.compose === undefined ? undefined : hex(sha256(await readTextFile(options.compose)));
  return verifyWith(
    parseQuoteAnswer(await readTextFile(path)),
    {
      reportData,
      ...(composeHash === undefined ? {} : { composeHash }),
      ...(options.kmsCa === undefined ? {} : { caCertHash: await caCertHashOf(options.kmsCa) }),
    },
    { pccsUrl: options.pccsUrl, simulatedRoots: options.simulatedRoot, imageDir: options.image },
  );
}
