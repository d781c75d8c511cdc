import { SimulatedPlatform } from "../../../../tdx-attest/src/simulated/platform.js";
import { MAX_DOCUMENT_CHARS } from "../../../src/tcb-documents.js";
import { NOW } from "../../support/platform.js";
import { collateral, platform } from "./row.js";
import type { Row } from "./row.js";

const foreign = SimulatedPlatform.fromSeed(new Uint8Array(32).fill(7)).collateral(NOW);
const past = new Date((NOW - 86_400) * 1000);
const future = new Date((NOW + 86_400) * 1000);
const iso = (at: Date): string => at.toISOString().replace(".000Z", "Z");
const editFirst = (text: string, from: string, to: string): string => {
  if (!text.includes(from)) throw new Error(`${from} is not in the document`);
  return text.replace(from, to);
};

/** TCB info and QE identity that were edited, swapped, made for another platform, or are out of date. */
export const DOCUMENTS: readonly Row[] = [
  collateral(
    "edited TCB info",
    (c) => ({ tcb_info: editFirst(c.tcb_info, '"isvsvn":6', '"isvsvn":1') }),
    "signature_invalid",
  ),
  collateral(
    "re-serialised TCB info",
    (c) => ({ tcb_info: editFirst(c.tcb_info, ",", ", ") }),
    "signature_invalid",
  ),
  collateral(
    "edited QE identity",
    (c) => ({ qe_identity: editFirst(c.qe_identity, '"isvsvn":4', '"isvsvn":1') }),
    "signature_invalid",
  ),
  ...(["tcb_info", "qe_identity"] as const).flatMap((field) => {
    const signature = `${field}_signature` as const;
    return [
      collateral(
        `${field} with a byte before its signature`,
        (c) => ({ [signature]: `00${c[signature]}` }),
        "collateral_malformed",
      ),
      collateral(
        `${field} with a byte behind its signature`,
        (c) => ({ [signature]: `${c[signature]}00` }),
        "collateral_malformed",
      ),
      collateral(
        `${field} longer than any`,
        (c) => ({ [field]: c[field].padEnd(MAX_DOCUMENT_CHARS + 1) }),
        "collateral_malformed",
      ),
      collateral(
        `${field} padded to the longest there can be`,
        (c) => ({ [field]: c[field].padEnd(MAX_DOCUMENT_CHARS) }),
        "signature_invalid",
      ),
    ];
  }),
  collateral(
    "TCB info in place of the QE identity",
    (c) => ({ qe_identity: c.tcb_info, qe_identity_signature: c.tcb_info_signature }),
    "collateral_malformed",
  ),
  collateral(
    "TCB info of a foreign root",
    () => ({
      tcb_info: foreign.tcb_info,
      tcb_info_signature: foreign.tcb_info_signature,
      tcb_info_issuer_chain: foreign.tcb_info_issuer_chain,
    }),
    "root_untrusted",
  ),
  collateral(
    "a chain cut short",
    (c) => ({
      tcb_info_issuer_chain: c.tcb_info_issuer_chain.slice(
        0,
        c.tcb_info_issuer_chain.indexOf("-----END") + 26,
      ),
    }),
    "certificate_malformed",
  ),
  platform(
    "TCB info of another FMSPC",
    { editTcbInfo: (info) => void (info.fmspc = "00906ED50000") },
    "platform_mismatch",
    "refused",
  ),
  platform(
    "TCB info of another PCEID",
    { editTcbInfo: (info) => void (info.pceId = "0001") },
    "platform_mismatch",
    "UpToDate",
    "it does not compare the PCEID",
  ),
  platform(
    "TCB info for SGX",
    { editTcbInfo: (info) => void (info.id = "SGX") },
    "collateral_malformed",
    "refused",
  ),
  platform(
    "TCB info of version 2",
    { editTcbInfo: (info) => void (info.version = 2) },
    "collateral_malformed",
    "refused",
  ),
  platform(
    "TCB info of another type",
    { editTcbInfo: (info) => void (info.tcbType = 1) },
    "collateral_malformed",
    "UpToDate",
    "it ignores tcbType",
  ),
  platform("an unknown status", { tcbStatus: "Fine" }, "collateral_malformed", "refused"),
  platform(
    "QE identity of an SGX quoting enclave",
    { editQeIdentity: (id) => void (id.id = "QE") },
    "collateral_malformed",
    "refused",
  ),
  platform(
    "QE identity of version 1",
    { editQeIdentity: (id) => void (id.version = 1) },
    "collateral_malformed",
    "refused",
  ),

  platform(
    "TCB info past its next update",
    { editTcbInfo: (info) => void (info.nextUpdate = iso(past)) },
    "not_in_date",
    "refused",
  ),
  platform(
    "TCB info of tomorrow",
    { editTcbInfo: (info) => void (info.issueDate = iso(future)) },
    "not_in_date",
    "refused",
  ),
  platform(
    "QE identity past its next update",
    { editQeIdentity: (id) => void (id.nextUpdate = iso(past)) },
    "not_in_date",
    "refused",
  ),
  platform(
    "QE identity of tomorrow",
    { editQeIdentity: (id) => void (id.issueDate = iso(future)) },
    "not_in_date",
    "refused",
  ),
];
