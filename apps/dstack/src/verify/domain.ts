import { X509Certificate } from "node:crypto";
import { isIP } from "node:net";
import {
  domainReportData,
  failed,
  freshDomainReportData,
  group,
  info,
  notChecked,
  passed,
} from "@dstack/attestation";
import type { CheckNode, Missing } from "@dstack/attestation";
import { InputError, errorMessage, fromHex, hex, sameBytes, sha256, utf8, x509FromDer } from "@dstack/core";
import { z } from "zod";
import { type AcmeAccount, checkCaa } from "./caa.js";
import type { DomainFiles } from "./domain-files.js";
import type { Presented } from "./presented.js";
import { parseQuoteAnswer } from "./quote-file.js";

const Account = z.looseObject({ uri: z.url(), caa: z.array(z.string().min(1)).min(1) });

/** The evidence of a custom domain: a quote from when its certificate came, and one made for our nonce. */
export interface PresentedDomain {
  readonly stored: Presented;
  readonly fresh: Presented;
}

/**
 * Follows the chain from the TLS key to the two quotes, which remain to be verified: key of the handshake → `cert.pem`
 * → `sha256sum.txt` → quotes; and `acme-account.json` → `sha256sum.txt`, CAA records → account.
 * @param certificate DER of the one whose key signed the handshake
 * @param tls what was checked in the handshake
 */
export async function presentedDomain(
  url: URL,
  certificate: Uint8Array,
  tls: CheckNode,
  files: DomainFiles,
  options: {
    readonly nonce: Uint8Array;
    readonly dns: readonly string[];
    readonly now: number;
    readonly signal: AbortSignal;
  },
): Promise<PresentedDomain> {
  const { nonce, dns, now, signal } = options;
  const { account, check: accountCheck } = readAccount(files.account);
  const chain = group("evidence files", [
    checkKey(files.certificate, certificate),
    checkName(url, certificate),
    checkDates(certificate, now),
    checkSum("cert.pem", files.certificate, files.sums),
    checkSum("acme-account.json", files.account, files.sums),
    accountCheck,
    issued(files.sums),
  ]);
  const caa = account === undefined ? [] : [await checkCaa(url.hostname, account, dns, signal)];
  const sums = utf8(files.sums);
  return {
    stored: presentedQuote(files.quote, domainReportData(sums), [tls, chain, ...caa]),
    fresh: presentedQuote(files.freshQuote, freshDomainReportData(sums, nonce), []),
  };
}

function presentedQuote(text: string, reportData: Uint8Array, checks: readonly CheckNode[]): Presented {
  const common = { subject: "endpoint", reportData, fromApp: true } as const;
  try {
    const { quote, eventLog } = parseQuoteAnswer(text);
    return { ...common, checks, quote, eventLog: eventLog ?? { missing: "quote.json has no event_log" } };
  } catch (err) {
    if (!(err instanceof InputError)) throw err;
    const bad = failed("quote.json", "evidence_malformed", err.message);
    const missing: Missing = { missing: "not reached" };
    return { ...common, checks: [...checks, bad], quote: missing, eventLog: missing };
  }
}

const spkiOf = (certificate: X509Certificate): Uint8Array =>
  certificate.publicKey.export({ type: "spki", format: "der" });

/** Whether a PEM file's first certificate is for the key of another one, DER. */
export function isOfKey(pem: string, served: Uint8Array): boolean {
  try {
    return sameBytes(spkiOf(new X509Certificate(pem)), spkiOf(x509FromDer(served)));
  } catch {
    return false; // no certificate
  }
}

function checkKey(pem: string, served: Uint8Array): CheckNode {
  const check = "cert.pem";
  const key = hex(sha256(spkiOf(x509FromDer(served))));
  if (isOfKey(pem, served)) return passed(check, `is for the key of the handshake, SHA-256 ${key}`);
  const why = "is not for the key that signed the handshake: it is another server's, or an old one";
  return failed(check, "key_not_held", why);
}

function checkName({ hostname }: URL, served: Uint8Array): CheckNode {
  const check = "host name";
  const host = hostname.replace(/^\[(.*)\]$/, "$1");
  const certificate = x509FromDer(served);
  const matches = isIP(host) === 0 ? certificate.checkHost(host) : certificate.checkIP(host);
  if (matches !== undefined) return passed(check, `the certificate is for ${host}`);
  const names = certificate.subjectAltName ?? "nobody";
  return failed(check, "name_mismatch", `the certificate is for ${names}, not for ${host}`);
}

function checkDates(served: Uint8Array, now: number): CheckNode {
  const { validFrom, validTo } = x509FromDer(served);
  const at = now * 1000;
  const until = new Date(validTo).toISOString();
  if (at < Date.parse(validFrom)) {
    return failed(
      "validity",
      "not_in_date",
      `the certificate begins on ${new Date(validFrom).toISOString()}`,
    );
  }
  if (at > Date.parse(validTo)) return failed("validity", "not_in_date", `the certificate ended on ${until}`);
  return passed("validity", `until ${until}`);
}

/** The line of one file; a second one for it would let two readers see two things. */
function checkSum(name: string, text: string, sums: string): CheckNode {
  const check = `checksum of ${name}`;
  const lines = sums.split("\n").flatMap((line) => {
    const [, sum, file] = /^([0-9a-f]{64}) [ *](?:\.\/)?(.+)$/.exec(line) ?? [];
    return file === name && sum !== undefined ? [sum] : [];
  });
  const [sum] = lines;
  if (sum === undefined || lines.length > 1) {
    const count = lines.length === 0 ? "no line" : "more than one line";
    return failed(check, "evidence_malformed", `sha256sum.txt has ${count} for it`);
  }
  if (sameBytes(fromHex(sum, "checksum"), sha256(utf8(text)))) return passed(check, sum);
  return failed(check, "checksum_mismatch", "is another one in sha256sum.txt: one of them was changed");
}

function readAccount(text: string): { account?: AcmeAccount; check: CheckNode } {
  const check = "acme-account.json";
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (err) {
    return { check: failed(check, "evidence_malformed", `is not JSON: ${errorMessage(err)}`) };
  }
  const parsed = Account.safeParse(value);
  if (!parsed.success) {
    const why = "does not say with `uri` and `caa` which account of which CA orders certificates";
    return { check: failed(check, "evidence_malformed", why) };
  }
  const { uri, caa } = parsed.data;
  return { account: { uri, caa }, check: info(check, `account ${uri} of ${caa.join(", ")}`) };
}

function issued(sums: string): CheckNode {
  const check = "issued";
  const time = /^# issued (\S+)$/m.exec(sums)?.[1];
  if (time === undefined) return notChecked(check, "sha256sum.txt does not say when it was issued");
  return info(
    check,
    `${time}, by the guest's clock; that it is the one in use shows the answer to our nonce`,
  );
}
