import { extension } from "../../../../tdx-attest/src/simulated/certificates.js";
import { octetString } from "../../../../tdx-attest/src/simulated/der.js";
import type { CertificateRole } from "../../../../tdx-attest/src/simulated/platform.js";
import { NOW } from "../../support/platform.js";
import { platform } from "./row.js";
import type { Row } from "./row.js";

const past = new Date((NOW - 86_400) * 1000);
const future = new Date((NOW + 86_400) * 1000);
const chain = (...roles: CertificateRole[]): readonly CertificateRole[] => roles;
const noRoles = "it does not check what a certificate is for";

/** Keys of one role used in another, as by who has got a PCK key out of a processor; certificates out of date. */
export const CHAINS: readonly Row[] = [
  platform(
    "a PCK issued by another PCK",
    { certificates: { pck: { issuer: "otherPck" } }, pckChain: chain("pck", "otherPck", "pckCa", "root") },
    "certificate_malformed",
    "UpToDate",
    noRoles,
  ),
  platform(
    "a PCK issued by another PCK, in a chain of three",
    {
      certificates: { pck: { issuer: "otherPck" }, otherPck: { issuer: "root" } },
      pckChain: chain("pck", "otherPck", "root"),
    },
    "chain_invalid",
    "UpToDate",
    noRoles,
  ),
  platform(
    "a PCK that calls itself a CA by name only",
    {
      certificates: {
        pck: { issuer: "otherPck" },
        otherPck: { issuer: "root", commonName: "SGX PCK Platform CA" },
      },
      pckChain: chain("pck", "otherPck", "root"),
    },
    "chain_invalid",
    "UpToDate",
    noRoles,
  ),
  platform(
    "a PCK that is a CA",
    { certificates: { pck: { ca: true, keyUsage: 0x86 } } },
    "chain_invalid",
    "refused",
  ),
  platform(
    "a PCK that must not sign",
    { certificates: { pck: { keyUsage: 0x08 } } },
    "chain_invalid",
    "UpToDate",
    noRoles,
  ),
  platform(
    "a PCK issued by the root",
    { certificates: { pck: { issuer: "root" } }, pckChain: chain("pck", "pckCa", "root") },
    "chain_invalid",
    "refused",
  ),
  platform(
    "a chain without the PCK CA",
    { certificates: { pck: { issuer: "root" } }, pckChain: chain("pck", "root") },
    "certificate_malformed",
    "UpToDate",
    noRoles,
  ),
  platform(
    "a PCK CA that is no CA",
    { certificates: { pckCa: { ca: false } } },
    "chain_invalid",
    "UpToDate",
    noRoles,
  ),
  platform(
    "a PCK CA without the right to issue",
    { certificates: { pckCa: { keyUsage: 0x02 } } },
    "chain_invalid",
    "UpToDate",
    noRoles,
  ),
  platform(
    "a PCK CA without the right to sign lists",
    { certificates: { pckCa: { keyUsage: 0x04 } } },
    "crl_invalid",
    "UpToDate",
    noRoles,
  ),
  platform(
    "a root that allows no CA below it",
    { certificates: { root: { pathLength: 0 } } },
    "chain_invalid",
    "UpToDate",
    noRoles,
  ),
  platform(
    "TCB info signed by a PCK key",
    { tcbChain: chain("pck", "pckCa", "root") },
    "certificate_malformed",
    "UpToDate",
    noRoles,
  ),
  platform(
    "TCB info signed by a PCK key in a chain of two",
    { certificates: { otherPck: { issuer: "root" } }, tcbChain: chain("otherPck", "root") },
    "chain_invalid",
    "UpToDate",
    noRoles,
  ),
  platform("TCB info signed by the PCK CA", { tcbChain: chain("pckCa", "root") }, "chain_invalid", "refused"),
  platform("TCB info signed by the root", { tcbChain: chain("root", "root") }, "chain_invalid", "refused"),
  platform(
    "a TCB signer issued by the PCK CA",
    { certificates: { tcbSigning: { issuer: "pckCa" } } },
    "chain_invalid",
    "refused",
  ),
  platform(
    "an unknown critical extension",
    { certificates: { pck: { extensions: [extension("1.2.3.4", octetString(new Uint8Array(1)), true)] } } },
    "certificate_malformed",
    "UpToDate",
    "it ignores critical extensions",
  ),
  platform(
    "an extension that stands twice",
    { certificates: { pck: { extensions: [extension("2.5.29.14", octetString(new Uint8Array(20)))] } } },
    "certificate_malformed",
    "UpToDate",
    "it takes the first of two extensions",
  ),
  platform("an expired PCK", { certificates: { pck: { notAfter: past } } }, "not_in_date", "refused"),
  platform(
    "an expired TCB signer",
    { certificates: { tcbSigning: { notAfter: past } } },
    "not_in_date",
    "refused",
  ),
  platform("an expired PCK CA", { certificates: { pckCa: { notAfter: past } } }, "not_in_date", "refused"),
  platform("an expired root", { certificates: { root: { notAfter: past } } }, "not_in_date", "refused"),
  platform("a PCK of tomorrow", { certificates: { pck: { notBefore: future } } }, "not_in_date", "refused"),
];
