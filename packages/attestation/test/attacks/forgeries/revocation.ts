import { hex } from "@dstack/core";
import { put } from "../../support/edit-quote.js";
import { NOW, makeCase } from "../../support/platform.js";
import { collateral, platform } from "./row.js";
import type { Row } from "./row.js";

const processor = makeCase({ platform: { ca: "processor" } }).collateral;
const past = new Date((NOW - 86_400) * 1000);
const longPast = new Date((NOW - 40 * 86_400) * 1000);
const future = new Date((NOW + 86_400) * 1000);
const noCrl = "its CRLs are not authenticated";

/** Revoked certificates, and lists that are missing, broken, out of date or of somebody else. */
export const REVOCATION: readonly Row[] = [
  platform("a revoked PCK", { revoked: ["pck"] }, "certificate_revoked", "refused"),
  platform("a revoked PCK CA", { revoked: ["pckCa"] }, "certificate_revoked", "refused"),
  platform("a revoked TCB signer", { revoked: ["tcbSigning"] }, "certificate_revoked", "refused"),
  platform(
    "an expired root CRL",
    { rootCrl: { thisUpdate: longPast, nextUpdate: past } },
    "not_in_date",
    "UpToDate",
    noCrl,
  ),
  platform(
    "an expired PCK CRL",
    { pckCrl: { thisUpdate: longPast, nextUpdate: past } },
    "not_in_date",
    "UpToDate",
    noCrl,
  ),
  platform("a PCK CRL of tomorrow", { pckCrl: { thisUpdate: future } }, "not_in_date", "UpToDate", noCrl),
  platform(
    "a root CRL signed by another key",
    { rootCrl: { signer: "pckCa" } },
    "crl_invalid",
    "UpToDate",
    noCrl,
  ),
  platform(
    "a PCK CRL signed by a PCK",
    { revoked: ["pck"], pckCrl: { signer: "otherPck" } },
    "crl_invalid",
    "refused",
  ),
  platform(
    "a PCK CRL under another issuer's name",
    { pckCrl: { issuer: "root", signer: "pckCa" } },
    "crl_invalid",
    "UpToDate",
    noCrl,
  ),
  platform("a PCK CRL of another issuer", { pckCrl: { issuer: "root" } }, "crl_invalid", "UpToDate", noCrl),
  ...(["root_ca_crl", "pck_crl"] as const).flatMap((field) => [
    collateral(`${field} empty`, () => ({ [field]: "" }), "certificate_malformed", "UpToDate", noCrl),
    collateral(
      `${field} garbage`,
      () => ({ [field]: "deadbeef" }),
      "certificate_malformed",
      "UpToDate",
      noCrl,
    ),
    collateral(
      `${field} cut off`,
      (c) => ({ [field]: c[field].slice(0, -20) }),
      "certificate_malformed",
      "UpToDate",
      noCrl,
    ),
    collateral(
      `${field} with a bit of its signature changed`,
      (c) => ({ [field]: flipLast(c[field]) }),
      "crl_invalid",
      "UpToDate",
      noCrl,
    ),
  ]),
  collateral(
    "the root CRL in place of the PCK CRL",
    (c) => ({ pck_crl: c.root_ca_crl }),
    "crl_invalid",
    "UpToDate",
    noCrl,
  ),
  collateral(
    "the PCK CRL in place of the root CRL",
    (c) => ({ root_ca_crl: c.pck_crl }),
    "crl_invalid",
    "UpToDate",
    noCrl,
  ),
  collateral(
    "the PCK CRL of the other CA, with its chain",
    () => ({ pck_crl: processor.pck_crl, pck_crl_issuer_chain: processor.pck_crl_issuer_chain }),
    "crl_invalid",
    "UpToDate",
    noCrl,
  ),
];

function flipLast(text: string): string {
  const bytes = Buffer.from(text, "hex");
  return hex(put(bytes, bytes.length - 1, [(bytes.at(-1) ?? 0) ^ 1]));
}
