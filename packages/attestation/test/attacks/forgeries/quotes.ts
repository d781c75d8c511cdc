import { concatBytes } from "@dstack/core";
import { AT, flip, growEnd, growQeAuth, put, u32 } from "../../support/edit-quote.js";
import { makeCase } from "../../support/platform.js";
import type { Case } from "../../support/platform.js";
import { malleable, quote } from "./row.js";
import type { Row } from "./row.js";

/** Quotes of a good platform, edited by who has none of its keys. */
export const QUOTES: readonly Row[] = [
  ...(
    ["signature", "attestationKey", "teeTcbSvn", "tdAttributes", "mrTd", "rtmr3", "reportData"] as const
  ).map((field) =>
    quote(
      `a bit of ${field}`,
      (q) => flip(q, AT[field]),
      field === "attestationKey" ? "qe_mismatch" : "signature_invalid",
    ),
  ),
  quote("a bit of the QE report", (q) => flip(q, AT.qeReport), "signature_invalid"),
  quote("another MRSIGNER in the QE report", (q) => flip(q, AT.qeMrSigner), "signature_invalid"),
  quote("a bit of the QE report signature", (q) => flip(q, AT.qeReportSignature), "signature_invalid"),
  quote("a bit of the QE authentication data", (q) => flip(q, AT.qeAuth), "qe_mismatch"),
  quote(
    "bytes added to the QE authentication data",
    (q) => growQeAuth(q, new Uint8Array(8)),
    "qe_mismatch",
    "UpToDate",
    malleable,
  ),
  quote("a signature of zeros", (q) => put(q, AT.signature, new Uint8Array(64)), "signature_invalid"),
  quote(
    "r = s = 1",
    (q) =>
      put(
        q,
        AT.signature,
        Uint8Array.from({ length: 64 }, (_, i) => (i % 32 === 31 ? 1 : 0)),
      ),
    "signature_invalid",
  ),
  quote("version 3", (q) => put(q, AT.version, [3]), "quote_malformed"),
  quote("version 6", (q) => put(q, AT.version, [6]), "quote_malformed"),
  quote("key type P-384", (q) => put(q, AT.keyType, [3]), "quote_malformed"),
  quote("an SGX quote", (q) => put(q, AT.teeType, [0]), "quote_malformed"),
  quote("another QE vendor", (q) => flip(q, AT.vendorId), "quote_malformed"),
  quote("no authentication data", (q) => put(q, AT.authLength, u32(0)), "quote_malformed"),
  quote(
    "2^32 − 1 bytes of authentication data",
    (q) => put(q, AT.authLength, u32(0xffffffff)),
    "quote_malformed",
  ),
  quote("2^32 − 1 bytes of certificates", (q) => put(q, AT.innerLength, u32(0xffffffff)), "quote_malformed"),
  quote(
    "65,535 bytes of QE authentication data",
    (q) => put(q, AT.qeAuthLength, [255, 255]),
    "quote_malformed",
  ),
  quote(
    "outer certification data of type 5",
    (q) => put(q, AT.outerType, [5]),
    "quote_malformed",
    "UpToDate",
    malleable,
  ),
  quote("inner certification data of type 4", (q) => put(q, AT.innerType, [4]), "quote_malformed"),
  quote(
    "a byte behind the end",
    (q) => concatBytes(q, Uint8Array.of(1)),
    "quote_malformed",
    "UpToDate",
    malleable,
  ),
  quote(
    "64 KiB of zeros behind the end",
    (q) => concatBytes(q, new Uint8Array(65_536)),
    "quote_malformed",
    "UpToDate",
    malleable,
  ),
  quote("a lower-case letter in the PEM header", (q) => flip(q, AT.chain + 6), "certificate_malformed"),

  quote(
    "zeros inside the authentication data, behind its last field",
    (q) => growEnd(q, [AT.authLength]),
    "quote_malformed",
    "UpToDate",
    malleable,
  ),
  quote(
    "zeros inside the QE certification data, behind its last field",
    (q) => growEnd(q, [AT.authLength, AT.outerLength]),
    "quote_malformed",
    "UpToDate",
    malleable,
  ),
  ...[
    [3, 584],
    [2, 648],
    [1, 384],
    [4, 648],
  ].map(([type = 0, size = 0]): Row => {
    const make = (): Case => {
      const v5 = makeCase({ quote: { version: 5, bodyType: size === 584 ? 2 : 3 } });
      return { ...v5, quote: put(put(v5.quote, 48, [type]), 50, u32(size)) };
    };
    return {
      name: `a v5 body of type ${type} with ${size} bytes`,
      make,
      ours: "quote_malformed",
      oracle: "refused",
    };
  }),
  ...([2, 3] as const).map((bodyType): Row => {
    const make = (): Case => {
      const v5 = makeCase({ quote: { version: 5, bodyType } });
      return { ...v5, quote: put(v5.quote, 50, u32(bodyType === 2 ? 648 : 584)) };
    };
    const name = `a v5 body of type ${bodyType} that says it had the other type's size`;
    return { name, make, ours: "quote_malformed", oracle: "refused" };
  }),
];
