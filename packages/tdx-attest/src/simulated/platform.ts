import type { Collateral } from "@dstack/attestation";
import { InputError, fromHex, hex, sha256, utf8 } from "@dstack/core";
import { KEY_USAGE, certificate, pem, revocationList } from "./certificates.js";
import { type QeReportFields, type QuoteOptions, writeQuote } from "./quote-writer.js";
import { type PckIdentity, sgxExtension } from "./sgx-extensions.js";
import { SigningKey } from "./signing-key.js";
import {
  CURRENT_PCE_SVN,
  CURRENT_QE_SVN,
  type DocumentDates,
  EVALUATION_NUMBER,
  type QeIdentity,
  type TcbInfo,
  qeIdentity,
  tcbInfo,
} from "./tcb-info.js";
import { type SimulatedTd, checkTdReport, makeTdReport } from "./td-report.js";

/** The certificates of a platform. `otherPck` is a second good PCK, of use only in attacks that tests play. */
export type CertificateRole = "root" | "pckCa" | "pck" | "otherPck" | "tcbSigning";

/** What a test changes in one certificate. */
export interface CertificateChanges {
  readonly commonName?: string;
  /** Whose name and key issue it. */
  readonly issuer?: CertificateRole;
  readonly ca?: boolean;
  readonly pathLength?: number | undefined;
  /** One byte of RFC 5280 key usage bits. */
  readonly keyUsage?: number;
  readonly notBefore?: Date;
  readonly notAfter?: Date;
  /** Encoded extensions to add, see `extension()`. */
  readonly extensions?: readonly Uint8Array[];
}

/** What a test changes in one revocation list. */
export interface CrlChanges {
  /** Whose name it carries. */
  readonly issuer?: CertificateRole;
  /** Whose key signs it. */
  readonly signer?: CertificateRole;
  readonly thisUpdate?: Date;
  readonly nextUpdate?: Date;
  /** Last word over the bytes. */
  readonly edit?: (der: Uint8Array) => Uint8Array;
}

/** How a platform differs from a good one. All of it is signed like the real thing. */
export interface SimulatedPlatformOptions {
  /** 12 hex digits. Default one that Intel does not use. */
  readonly fmspc?: string;
  /** 4 hex digits. Default `0000`. */
  readonly pceId?: string;
  readonly pceSvn?: number;
  /** 16 SGX component SVNs. The default meets the current TCB level. */
  readonly componentSvns?: readonly number[];
  /** Which of Intel's two intermediate CAs is imitated. Default `platform`. */
  readonly ca?: "platform" | "processor";
  readonly qe?: Partial<QeReportFields>;
  readonly certificates?: Partial<Record<CertificateRole, CertificateChanges>>;
  /** Certificates put into the quote, leaf first. */
  readonly pckChain?: readonly CertificateRole[];
  /** Issuer chain of TCB info and QE identity; the first one's key signs them. */
  readonly tcbChain?: readonly CertificateRole[];
  /** Certificates listed in the CRL of their issuer. */
  readonly revoked?: readonly CertificateRole[];
  readonly rootCrl?: CrlChanges;
  readonly pckCrl?: CrlChanges;
  /** Status and advisories of the level that the platform reaches. */
  readonly tcbStatus?: string;
  readonly tcbAdvisories?: readonly string[];
  /** Changes the document before it is signed. */
  readonly editTcbInfo?: (info: TcbInfo) => void;
  readonly editQeIdentity?: (identity: QeIdentity) => void;
}

interface BuiltCertificate {
  readonly commonName: string;
  readonly serial: Uint8Array;
  readonly der: Uint8Array;
}

const NAME = "Simulated platform (NOT HARDWARE)";
const DAY_MS = 86_400_000;
/** Lifetime of CRLs and signed documents; Intel's have the same. */
const COLLATERAL_DAYS = 30;
const NOT_BEFORE = new Date("2020-01-01T00:00:00Z");
const NOT_AFTER = new Date("2049-12-31T23:59:59Z");
/** `FF` then "SIM" in ASCII. */
const DEFAULT_FMSPC = "FF53494D0000";
const DEFAULT_COMPONENT_SVNS = [4, 4, 2, 2, 5, 1, 0, 6, 0, 0, 0, 0, 0, 0, 0, 0];

/**
 * A TDX platform in software: root CA, PCK chain, quoting enclave and Intel's signed documents, all from one seed.
 * It is NOT hardware and proves nothing: a verifier accepts it only where its root is named as insecure.
 * The same seed and options give the same bytes in every process; collateral changes once a day.
 */
export class SimulatedPlatform {
  readonly rootCertificatePem: string;
  readonly rootCertificateDer: Uint8Array;
  /** SHA-256 of the root certificate's DER, hex: the trust anchor. */
  readonly rootSha256: string;
  /** 12 upper-case hex digits. */
  readonly fmspc: string;
  readonly ca: "platform" | "processor";
  /** 16 bytes. */
  readonly ppid: Uint8Array;
  readonly #options: SimulatedPlatformOptions;
  readonly #seed: Uint8Array;
  readonly #keys = new Map<string, SigningKey>();
  readonly #certificates = new Map<CertificateRole, BuiltCertificate>();
  readonly #identity: PckIdentity;
  readonly #qe: QeReportFields;
  readonly #macKey: Uint8Array;

  private constructor(seed: Uint8Array, options: SimulatedPlatformOptions) {
    this.#seed = seed.slice();
    this.#options = options;
    this.fmspc = (options.fmspc ?? DEFAULT_FMSPC).toUpperCase();
    this.ca = options.ca ?? "platform";
    this.ppid = this.#derive("ppid").subarray(0, 16);
    this.#macKey = this.#derive("report mac key");
    const componentSvns = options.componentSvns ?? DEFAULT_COMPONENT_SVNS;
    this.#identity = {
      ppid: this.ppid,
      componentSvns,
      pceSvn: options.pceSvn ?? CURRENT_PCE_SVN,
      pceId: fromHex(options.pceId ?? "0000", "pceId", 2),
      fmspc: fromHex(this.fmspc, "fmspc", 6),
      platformInstanceId:
        this.ca === "platform" ? this.#derive("platform instance").subarray(0, 16) : undefined,
    };
    this.#qe = {
      cpuSvn: Uint8Array.from(componentSvns),
      miscSelect: 0,
      attributes: fromHex("1500000000000000e700000000000000"),
      mrSigner: this.#derive("qe signer"),
      isvProdId: 2,
      isvSvn: CURRENT_QE_SVN,
      ...options.qe,
    };
    this.rootCertificateDer = this.#certificate("root").der;
    this.rootCertificatePem = pem(this.rootCertificateDer);
    this.rootSha256 = hex(sha256(this.rootCertificateDer));
  }

  /**
   * @param seed 32 bytes, given by the operator or random; whoever has it can forge this platform's quotes
   * @throws {InputError} a seed of another length
   */
  static fromSeed(seed: Uint8Array, options: SimulatedPlatformOptions = {}): SimulatedPlatform {
    if (seed.length !== 32)
      throw new InputError(`the seed of a simulated platform is 32 bytes, got ${seed.length}`);
    return new SimulatedPlatform(seed, options);
  }

  /** The TDREPORT that the TDX module gives this TD. */
  report(td: SimulatedTd, reportData: Uint8Array): Uint8Array {
    return makeTdReport(td, reportData, {
      macKey: this.#macKey,
      cpuSvn: Uint8Array.from(this.#identity.componentSvns),
    });
  }

  /**
   * What the quoting enclave makes of a TDREPORT.
   * @throws {InputError} the report was not made on this platform
   */
  quoteReport(report: Uint8Array, options: QuoteOptions = {}): Uint8Array {
    checkTdReport(report, this.#macKey);
    const signers = {
      attestationKey: this.#key("attestation"),
      pckKey: this.#key("pck"),
      qe: this.#qe,
      pckChainPem: this.#chainPem(this.#options.pckChain ?? ["pck", "pckCa", "root"]),
    };
    return writeQuote(report, signers, options);
  }

  /**
   * A quote of this TD.
   * @param reportData 64 bytes
   */
  quote(td: SimulatedTd, reportData: Uint8Array, options: QuoteOptions = {}): Uint8Array {
    return this.quoteReport(this.report(td, reportData), options);
  }

  /**
   * The nine documents a verifier needs, issued on the day before `now` and good for 30 days.
   * @param now unix time in seconds
   */
  collateral(now: number): Collateral {
    const tcbSigner = this.#tcbChain()[0] ?? "tcbSigning";
    const { info, identity } = this.#documents(now);
    const sign = (text: string): string => hex(this.#key(tcbSigner).sign(utf8(text)));
    return {
      pck_crl_issuer_chain: this.#chainPem(["pckCa", "root"]),
      root_ca_crl: hex(this.rootCrl(now)),
      pck_crl: hex(this.pckCrl(now)),
      tcb_info_issuer_chain: this.#chainPem(this.#tcbChain()),
      tcb_info: info,
      tcb_info_signature: sign(info),
      qe_identity_issuer_chain: this.#chainPem(this.#tcbChain()),
      qe_identity: identity,
      qe_identity_signature: sign(identity),
    };
  }

  /** The root's revocation list, DER. */
  rootCrl(now: number): Uint8Array {
    return this.#crl(now, "root", ["pckCa", "tcbSigning"], this.#options.rootCrl ?? {});
  }

  /** The revocation list of the CA that issued the PCK certificate, DER. */
  pckCrl(now: number): Uint8Array {
    return this.#crl(now, "pckCa", ["pck", "otherPck"], this.#options.pckCrl ?? {});
  }

  #documents(now: number): { info: string; identity: string } {
    const dates = collateralDates(now);
    const info = tcbInfo(dates, { fmspc: this.fmspc, pceId: this.#options.pceId ?? "0000" });
    const reached = info.tcbLevels[0];
    if (reached !== undefined) {
      if (this.#options.tcbStatus !== undefined) reached.tcbStatus = this.#options.tcbStatus;
      if (this.#options.tcbAdvisories !== undefined) reached.advisoryIDs = [...this.#options.tcbAdvisories];
    }
    const identity = qeIdentity(dates, hex(this.#derive("qe signer")).toUpperCase());
    this.#options.editTcbInfo?.(info);
    this.#options.editQeIdentity?.(identity);
    return { info: JSON.stringify(info), identity: JSON.stringify(identity) };
  }

  #crl(
    now: number,
    role: "root" | "pckCa",
    lists: readonly CertificateRole[],
    changes: CrlChanges,
  ): Uint8Array {
    const dates = collateralDates(now);
    const revoked = (this.#options.revoked ?? []).filter((one) => lists.includes(one));
    const crl = revocationList({
      issuerName: this.#name(changes.issuer ?? role),
      issuerKey: this.#key(changes.signer ?? changes.issuer ?? role),
      number: Math.floor(dates.issueDate.getTime() / DAY_MS) + EVALUATION_NUMBER,
      thisUpdate: changes.thisUpdate ?? dates.issueDate,
      nextUpdate: changes.nextUpdate ?? dates.nextUpdate,
      revoked: revoked.map((one) => this.#certificate(one).serial),
    });
    return changes.edit?.(crl) ?? crl;
  }

  #tcbChain(): readonly CertificateRole[] {
    return this.#options.tcbChain ?? ["tcbSigning", "root"];
  }

  #chainPem(roles: readonly CertificateRole[]): string {
    return roles.map((role) => pem(this.#certificate(role).der)).join("");
  }

  #name(role: CertificateRole): string {
    return this.#options.certificates?.[role]?.commonName ?? `${NAME} ${this.#rolePhrase(role)}`;
  }

  /** Verifiers tell the roles apart by Intel's phrases. */
  #rolePhrase(role: CertificateRole): string {
    if (role === "root") return "SGX Root CA";
    if (role === "tcbSigning") return "SGX TCB Signing";
    if (role === "pckCa") return this.ca === "platform" ? "SGX PCK Platform CA" : "SGX PCK Processor CA";
    return "SGX PCK Certificate";
  }

  #certificate(role: CertificateRole): BuiltCertificate {
    const known = this.#certificates.get(role);
    if (known !== undefined) return known;
    const changes = this.#options.certificates?.[role] ?? {};
    const isPck = role === "pck" || role === "otherPck";
    const issuer = changes.issuer ?? (isPck ? "pckCa" : "root");
    const ca = changes.ca ?? (role === "root" || role === "pckCa");
    const serial = this.#derive(`serial of ${role}`).subarray(0, 20);
    serial[0] = ((serial[0] ?? 0) & 0x7f) | 0x40; // positive and of full length
    const built: BuiltCertificate = {
      commonName: this.#name(role),
      serial,
      der: certificate({
        commonName: this.#name(role),
        issuerName: this.#name(issuer),
        key: this.#key(role),
        issuerKey: this.#key(issuer),
        serial,
        notBefore: changes.notBefore ?? NOT_BEFORE,
        notAfter: changes.notAfter ?? NOT_AFTER,
        ca,
        pathLength: "pathLength" in changes ? changes.pathLength : ca ? (role === "root" ? 1 : 0) : undefined,
        keyUsage: changes.keyUsage ?? (ca ? KEY_USAGE.issuing : KEY_USAGE.signing),
        extensions: [...(isPck ? [sgxExtension(this.#identity)] : []), ...(changes.extensions ?? [])],
        crlUrl: `https://pcs.simulated.invalid/${issuer === "root" ? "root.crl" : `${this.ca}.crl`}`,
      }),
    };
    this.#certificates.set(role, built);
    return built;
  }

  #key(purpose: CertificateRole | "attestation"): SigningKey {
    const known = this.#keys.get(purpose);
    if (known !== undefined) return known;
    const key = SigningKey.derive(this.#seed, purpose);
    this.#keys.set(purpose, key);
    return key;
  }

  #derive(what: string): Uint8Array {
    return sha256("dstack simulated platform: ", what, ": ", this.#seed);
  }
}

/** Rounded to the day, so that two processes agree; the day before, so that a clock a little behind does too. */
function collateralDates(now: number): DocumentDates {
  const issued = Math.floor((now * 1000) / DAY_MS - 1) * DAY_MS;
  return { issueDate: new Date(issued), nextUpdate: new Date(issued + COLLATERAL_DAYS * DAY_MS) };
}
