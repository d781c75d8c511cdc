import { InputError } from "@dstack/core";
import { formatCollateralBundle, parseCollateralBundle } from "../../../ra-tls/src/collateral/bundle.js";
import { QuoteError, authenticateCollateral } from "../../src/index.js";
import { TCB_STATUSES, readQeIdentity, readTcbInfo } from "../../src/tcb-documents.js";
import { makeCase } from "../../test/support/platform.js";
import { require, text, utf8 } from "../target.js";
import type { Target } from "../target.js";

const good = makeCase();

const WORDS = [
  ...[
    '"',
    ",",
    ":",
    "{",
    "}",
    "[",
    "]",
    "null",
    "true",
    "-1",
    "1e999",
    "0.5",
    "4294967296",
    '"__proto__":',
    "\\u0000",
  ],
  ...[
    '"UpToDate"',
    '"Revoked"',
    '"2026-02-30T00:00:00Z"',
    '"tcbLevels":[]',
    '"tcbStatus":',
    '"isvsvn":',
    '"svn":',
  ],
].map(utf8);

const isTime = (seconds: number): boolean => Number.isSafeInteger(seconds);

export const tcbInfo: Target = {
  name: "tcb-info",
  seeds: () => [utf8(good.collateral.tcb_info)],
  words: WORDS,
  refusals: [QuoteError],
  read: (input) => {
    const info = readTcbInfo(text(input));
    require(isTime(info.issueDate) && isTime(info.nextUpdate), "a date is no time");
    require(/^[0-9A-F]{12}$/.test(info.fmspc), "an FMSPC is not what it must be");
    for (const { tcb, tcbStatus, tcbDate } of info.tcbLevels) {
      require(isTime(tcbDate) && TCB_STATUSES.includes(tcbStatus), "a level is not what it must be");
      const svns = [...tcb.sgxtcbcomponents, ...tcb.tdxtcbcomponents].map(({ svn }) => svn);
      require(svns.length === 32 &&
        svns.every((svn) => svn >= 0 && svn <= 255), "a component is out of range");
    }
  },
};

export const qeIdentity: Target = {
  name: "qe-identity",
  seeds: () => [utf8(good.collateral.qe_identity)],
  words: WORDS,
  refusals: [QuoteError],
  read: (input) => {
    const identity = readQeIdentity(text(input));
    require(isTime(identity.issueDate) && isTime(identity.nextUpdate), "a date is no time");
    require(/^[0-9a-fA-F]{64}$/.test(identity.mrsigner), "a signer is not what it must be");
    require(identity.tcbLevels.every(({ tcb }) =>
      Number.isSafeInteger(tcb.isvsvn),
    ), "a level is not what it must be");
  },
};

export const collateral: Target = {
  name: "collateral",
  seeds: () => [utf8(formatCollateralBundle([good.collateral])), utf8(JSON.stringify([good.collateral]))],
  words: WORDS,
  maxBytes: 64 * 1024,
  refusals: [QuoteError, InputError],
  read: (input) => {
    for (const one of parseCollateralBundle(text(input))) {
      authenticateCollateral(one, good.anchors);
      const same = (Object.keys(good.collateral) as (keyof typeof good.collateral)[]).every(
        (field) => one[field].trimEnd() === good.collateral[field].trimEnd(),
      );
      require(same, "collateral that nobody signed");
    }
  },
};
