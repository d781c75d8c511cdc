import { concatBytes } from "@dstack/core";
import { MAX_QUOTE_BYTES } from "../../../src/index.js";
import { noModule, platform, quote, row, svn } from "./row.js";
import type { Row } from "./row.js";
import { otherS } from "../../support/edit-quote.js";

/** What must pass, so that a verifier which refuses everything fails too. */
export const GOOD: Row[] = [
  row("v4", {}, "UpToDate", "UpToDate"),
  row("v5 with TD 1.5", { quote: { version: 5 } }, "UpToDate", "UpToDate"),
  row("v5 with TD 1.0", { quote: { version: 5, bodyType: 2 } }, "UpToDate", "UpToDate"),
  row("zero padding", { quote: { padding: 3065 } }, "UpToDate", "UpToDate"),
  quote(
    "zero padding up to the longest quote",
    (q) => concatBytes(q, new Uint8Array(MAX_QUOTE_BYTES - q.length)),
    "UpToDate",
    "UpToDate",
  ),
  platform("a PCK of the Processor CA", { ca: "processor" }, "UpToDate", "UpToDate"),
  row(
    "no QE authentication data",
    { quote: { qeAuthData: new Uint8Array() } },
    "UpToDate",
    "refused",
    "it wants 32 bytes of QE authentication data",
  ),
  row(
    "long QE authentication data",
    { quote: { qeAuthData: new Uint8Array(500) } },
    "UpToDate",
    "refused",
    "it wants 32 bytes of QE authentication data",
  ),
  platform(
    "a PCE SVN of three DER bytes",
    { pceSvn: 40_000 },
    "UpToDate",
    "refused",
    "it reads integers of two bytes only",
  ),
  quote("the other s: the hash of a quote is no identity", otherS, "UpToDate", "UpToDate"),
  platform("SWHardeningNeeded", { tcbStatus: "SWHardeningNeeded" }, "SWHardeningNeeded", "SWHardeningNeeded"),
  platform("OutOfDate", { tcbStatus: "OutOfDate" }, "OutOfDate", "OutOfDate"),
  row(
    "a TDX module that is out of date by its own identity",
    { td: { teeTcbSvn: svn(5, 1, 3) } },
    "OutOfDate",
    "UpToDate",
    noModule,
  ),
  row(
    "a current module whose SVN is below the first TDX component (index 2 rule)",
    { td: { teeTcbSvn: svn(4, 3, 3) } },
    "UpToDate",
    "OutOfDate",
    "it compares the first two components though the module has its own identity",
  ),
  row(
    "a module of version 0, judged by all components",
    { td: { teeTcbSvn: svn(4, 0, 3) } },
    "OutOfDate",
    "OutOfDate",
  ),
  row(
    "a module of version 0 and a quoting enclave that is out of date",
    { td: { teeTcbSvn: svn(5, 0, 3) }, platform: { qe: { isvSvn: 3 } } },
    "OutOfDate",
    "OutOfDate",
  ),
  platform("a quoting enclave that is out of date", { qe: { isvSvn: 3 } }, "OutOfDate", "OutOfDate"),
  platform(
    "ConfigurationNeeded and a quoting enclave that is out of date",
    { qe: { isvSvn: 3 }, tcbStatus: "ConfigurationNeeded" },
    "OutOfDateConfigurationNeeded",
    "OutOfDate",
    "it takes the worse of two words",
  ),
];
