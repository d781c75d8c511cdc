import { X509Certificate, createPublicKey, randomBytes, webcrypto } from "node:crypto";
import type { KeyObject } from "node:crypto";
import { isIP } from "node:net";
import { InputError, concatBytes, x509FromDer } from "@dstack/core";
import { generateP256, loadP256 } from "./p256.js";
import { x509 } from "./x509.js";

const ECDSA = { name: "ECDSA", namedCurve: "P-256", hash: "SHA-256" } as const;
const EXTENDED_USAGE = { serverAuth: "1.3.6.1.5.5.7.3.1", clientAuth: "1.3.6.1.5.5.7.3.2" } as const;

/** Certificates begin a little in the past, because clocks differ. */
export const CLOCK_SKEW_MS = 5 * 60_000;

/** A root made by {@link CertificateAuthority.create} lives ten years unless asked otherwise. */
const ROOT_LIFETIME_MS = 3650 * 86_400_000;

/** More levels than any chain here has; a bound on what a PEM bundle may hold. */
const MAX_CHAIN = 8;

export type CertificateUsage = keyof typeof EXTENDED_USAGE;

export interface IssueRequest {
  readonly publicKey: KeyObject;
  readonly commonName: string;
  /** Host names and IP addresses; an address becomes an IP entry. */
  readonly altNames?: readonly string[];
  /** Extended key usages of an end certificate. */
  readonly usages?: readonly CertificateUsage[];
  /** Makes it a CA certificate that allows this many CAs below it. */
  readonly ca?: { readonly pathLength: number };
  /** Further extensions, not critical. `value` is the DER inside the extension's own OCTET STRING. */
  readonly extensions?: readonly { readonly oid: string; readonly value: Uint8Array }[];
  readonly notBefore?: Date;
  readonly notAfter: Date;
}

function importPrivate(key: KeyObject): Promise<webcrypto.CryptoKey> {
  const der = key.export({ type: "pkcs8", format: "der" });
  return webcrypto.subtle.importKey("pkcs8", der, ECDSA, false, ["sign"]);
}

function importPublic(key: KeyObject): Promise<webcrypto.CryptoKey> {
  const der = key.export({ type: "spki", format: "der" });
  return webcrypto.subtle.importKey("spki", der, ECDSA, true, ["verify"]);
}

/** As structured data, so that no character of a name can add another attribute to it. */
function nameOf(commonName: string): x509.Name {
  // ub-common-name of RFC 5280 appendix A.1.
  if (commonName.length === 0 || commonName.length > 64) {
    throw new InputError("certificate common name must have 1 to 64 characters");
  }
  return new x509.Name([{ CN: [{ utf8String: commonName }] }]);
}

/** Positive, 127 random bits (RFC 5280 §4.1.2.2 wants unique, at most 20 bytes). */
function serialNumber(): string {
  const bytes = randomBytes(16);
  bytes[0] = ((bytes[0] ?? 0) & 0x7f) | 0x40;
  return bytes.toString("hex");
}

async function sign(
  request: IssueRequest,
  issuer: { name: x509.Name; key: KeyObject; publicKey: KeyObject },
): Promise<string> {
  const publicKey = await importPublic(request.publicKey);
  const signingKey = await importPrivate(issuer.key);
  const usage = x509.KeyUsageFlags;
  const extensions: x509.Extension[] = [
    new x509.BasicConstraintsExtension(request.ca !== undefined, request.ca?.pathLength, true),
    new x509.KeyUsagesExtension(
      request.ca === undefined
        ? usage.digitalSignature
        : usage.keyCertSign | usage.cRLSign | usage.digitalSignature,
      true,
    ),
    await x509.SubjectKeyIdentifierExtension.create(publicKey),
    await x509.AuthorityKeyIdentifierExtension.create(await importPublic(issuer.publicKey)),
  ];
  if (request.usages !== undefined && request.usages.length > 0) {
    extensions.push(new x509.ExtendedKeyUsageExtension(request.usages.map((name) => EXTENDED_USAGE[name])));
  }
  if (request.altNames !== undefined && request.altNames.length > 0) {
    extensions.push(new x509.SubjectAlternativeNameExtension(request.altNames.map(generalName)));
  }
  for (const { oid, value } of request.extensions ?? []) {
    extensions.push(new x509.Extension(oid, false, Buffer.from(value)));
  }
  const certificate = await x509.X509CertificateGenerator.create({
    serialNumber: serialNumber(),
    subject: nameOf(request.commonName),
    issuer: issuer.name,
    notBefore: request.notBefore ?? new Date(Date.now() - CLOCK_SKEW_MS),
    notAfter: request.notAfter,
    publicKey,
    signingKey,
    signingAlgorithm: ECDSA,
    extensions,
  });
  return `${certificate.toString("pem")}\n`;
}

function generalName(name: string): { type: "ip" | "dns"; value: string } {
  if (isIP(name) !== 0) return { type: "ip", value: name };
  // LDH labels and a leading wildcard (RFC 1123 §2.1, RFC 6125 §6.4.3), at most 253 characters.
  if (
    name.length > 253 ||
    !/^(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?$/i.test(name)
  ) {
    throw new InputError("alternative name must be a host name or an IP address");
  }
  return { type: "dns", value: name };
}

/** Signs a certificate with its own key. */
export function selfSign(key: KeyObject, request: Omit<IssueRequest, "publicKey">): Promise<string> {
  const publicKey = createPublicKey(key);
  return sign({ ...request, publicKey }, { name: nameOf(request.commonName), key, publicKey });
}

/** Splits PEM text into its certificates, in order. @throws {InputError} when it holds none or too many */
export function splitPem(pem: string): string[] {
  const found = pem.match(/-----BEGIN CERTIFICATE-----[A-Za-z0-9+/=\s]+-----END CERTIFICATE-----/g) ?? [];
  if (found.length === 0) throw new InputError("no PEM certificate found");
  if (found.length > MAX_CHAIN) throw new InputError(`more than ${MAX_CHAIN} certificates in one PEM file`);
  return found.map((text) => `${text}\n`);
}

/** DER of one PEM certificate. @throws {InputError} when it cannot be parsed */
export function pemToDer(pem: string): Uint8Array {
  try {
    return new Uint8Array(new X509Certificate(pem).raw);
  } catch (err) {
    throw new InputError("certificate is not a PEM that can be read", { cause: err });
  }
}

/** A P-256 CA certificate with its key. */
export class CertificateAuthority {
  readonly #name: x509.Name;
  readonly #publicKey: KeyObject;

  private constructor(
    /** PEM of the CA's own certificate. */
    readonly certPem: string,
    /** A secret. */
    readonly key: KeyObject,
    /** PEM certificates: the CA's own first, then those above it that were loaded with it. */
    readonly chain: readonly string[],
  ) {
    this.#name = new x509.X509Certificate(certPem).subjectName;
    this.#publicKey = createPublicKey(key);
  }

  /** Makes a key and a self-signed root certificate. */
  static async create(options: {
    commonName: string;
    pathLength?: number;
    notAfter?: Date;
    key?: KeyObject;
  }): Promise<CertificateAuthority> {
    const key = options.key ?? generateP256().privateKey;
    const certPem = await selfSign(key, {
      commonName: options.commonName,
      ca: { pathLength: options.pathLength ?? 3 },
      notAfter: options.notAfter ?? new Date(Date.now() + ROOT_LIFETIME_MS),
    });
    return new CertificateAuthority(certPem, key, [certPem]);
  }

  /**
   * @param certPem the CA's certificate, then optionally the chain above it
   * @throws {InputError} not a CA certificate, not P-256, or the key belongs to another certificate
   */
  static load(certPem: string, key: string | KeyObject): CertificateAuthority {
    const chain = splitPem(certPem);
    const own = chain[0] ?? "";
    const pair = loadP256(key);
    const certificate = x509FromDer(pemToDer(own));
    if (!certificate.ca) throw new InputError("certificate is not a CA certificate");
    if (!certificate.checkPrivateKey(pair.privateKey))
      throw new InputError("key does not belong to the CA certificate");
    return new CertificateAuthority(own, pair.privateKey, chain);
  }

  /** DER of the CA's own certificate. */
  get certDer(): Uint8Array {
    return pemToDer(this.certPem);
  }

  /** The end of the CA certificate's validity. */
  get notAfter(): Date {
    return new x509.X509Certificate(this.certPem).notAfter;
  }

  /** DER SubjectPublicKeyInfo of the CA. */
  get publicKeySpki(): Uint8Array {
    return new Uint8Array(this.#publicKey.export({ type: "spki", format: "der" }));
  }

  /**
   * Signs a certificate and gives its PEM.
   * @throws {InputError} a name that cannot stand in a certificate
   */
  issue(request: IssueRequest): Promise<string> {
    return sign(request, { name: this.#name, key: this.key, publicKey: this.#publicKey });
  }
}

/** DER OCTET STRING around a payload: the form of every extension in oids.ts. */
export function octetString(payload: Uint8Array): Uint8Array {
  const { length } = payload;
  const head =
    length < 0x80
      ? [length]
      : length < 0x100
        ? [0x81, length]
        : length < 0x10000
          ? [0x82, length >> 8, length & 0xff]
          : [0x83, length >> 16, (length >> 8) & 0xff, length & 0xff];
  return concatBytes(Uint8Array.of(0x04, ...head), payload);
}
