import { noModule, platform, row, svn } from "./row.js";
import type { Row } from "./row.js";

/** Quoting enclaves, processors and TDX modules that must not pass, honestly attested. */
export const PLATFORMS: readonly Row[] = [
  platform("another MRSIGNER", { qe: { mrSigner: new Uint8Array(32) } }, "qe_mismatch", "refused"),
  platform("another ISVPRODID", { qe: { isvProdId: 3 } }, "qe_mismatch", "refused"),
  platform("another MISCSELECT", { qe: { miscSelect: 1 } }, "qe_mismatch", "refused"),
  platform(
    "a quoting enclave in debug mode",
    { qe: { attributes: attributes(0x17) } },
    "qe_mismatch",
    "refused",
  ),
  platform(
    "debug mode that a mask would let through",
    {
      qe: { attributes: attributes(0x17) },
      editQeIdentity: (id) => void (id.attributesMask = "0".repeat(32)),
    },
    "qe_mismatch",
    "refused",
  ),
  platform("a quoting enclave below all levels", { qe: { isvSvn: 1 } }, "tcb_unsupported", "refused"),
  platform(
    "a revoked quoting enclave",
    { editQeIdentity: (id) => id.tcbLevels.forEach((level) => (level.tcbStatus = "Revoked")) },
    "tcb_revoked",
    "refused",
  ),

  // The platform and its TDX module.
  platform("a platform below all levels", { pceSvn: 4 }, "tcb_unsupported", "refused"),
  platform("a revoked platform", { tcbStatus: "Revoked" }, "tcb_revoked", "refused"),
  row(
    "a TDX module nobody knows",
    { td: { teeTcbSvn: svn(7, 9, 3) } },
    "module_mismatch",
    "UpToDate",
    noModule,
  ),
  row(
    "a TDX module below all its levels",
    { td: { teeTcbSvn: svn(1, 1, 3) } },
    "tcb_unsupported",
    "OutOfDate",
    noModule,
  ),
  platform(
    "a revoked TDX module",
    {
      editTcbInfo: (info) =>
        info.tdxModuleIdentities.forEach((m) =>
          m.tcbLevels.forEach((level) => (level.tcbStatus = "Revoked")),
        ),
    },
    "tcb_revoked",
    "UpToDate",
    noModule,
  ),
  row(
    "a TDX module of another signer",
    { td: { mrSignerSeam: new Uint8Array(48).fill(1) } },
    "module_mismatch",
    "UpToDate",
    noModule,
  ),
  row(
    "a TDX module that was replaced by an older one while the TD ran",
    { quote: { version: 5 }, td: { teeTcbSvn2: svn(6, 1, 3) } },
    "module_mismatch",
    "UpToDate",
    noModule,
  ),
  row(
    "a TDX module with attributes",
    { td: { seamAttributes: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0) } },
    "module_mismatch",
    "UpToDate",
    noModule,
  ),

  row(
    "attributes of the TDX module that a mask would let through",
    {
      td: { seamAttributes: Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0) },
      platform: {
        editTcbInfo: (info) => info.tdxModuleIdentities.forEach((m) => (m.attributesMask = "0".repeat(16))),
      },
    },
    "module_mismatch",
    "UpToDate",
    noModule,
  ),
];

function attributes(flags: number): Uint8Array {
  return Uint8Array.from([flags, 0, 0, 0, 0, 0, 0, 0, 0xe7, 0, 0, 0, 0, 0, 0, 0]);
}
