import { group, info, notChecked, passed } from "@dstack/attestation";
import type { CheckNode } from "@dstack/attestation";
import { errorCode, errorMessage, hex, sha256, withDeadline } from "@dstack/core";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { isIP } from "node:net";
import { connect } from "node:tls";
import type { TLSSocket } from "node:tls";
import { fetchApp } from "../local/fetch-app.js";
import { CliError } from "../output.js";
import { presentedByKey, withoutKey } from "./certificate.js";
import { CertificateChanged, NoEvidence, fetchDomainFiles } from "./domain-files.js";
import { isOfKey, presentedDomain } from "./domain.js";
import type { PresentedDomain } from "./domain.js";
import type { Presented } from "./presented.js";
import { appReportData, parseQuoteAnswer } from "./quote-file.js";

const HANDSHAKE_LIMIT_MS = 15_000;

/** OpenSSL's words for a CertificateVerify that the certificate's key did not make (RFC 8446 §4.4.3). */
const BAD_SIGNATURE = new Set(["ERR_SSL_BAD_SIGNATURE", "ERR_OSSL_BAD_SIGNATURE"]);

const ORDINARY =
  "the server's certificate carries no quote and there is no /evidences/, so nothing is known of who answers. App URLs " +
  "without `s` end TLS at tproxy, and the certificate is tproxy's: ask for an `s` URL if the app serves RA-TLS itself, " +
  "or give --path if it answers quotes over HTTP";

/** A certificate may be renewed while we read the files that go with it. */
const DOMAIN_ATTEMPTS = 3;

interface Handshake {
  /** DER of the certificate whose key signed the handshake. */
  readonly certificate: Uint8Array;
  /** Why the public's CAs do not vouch for it; undefined when they do. */
  readonly untrusted?: string;
}

export interface EndpointOptions {
  readonly path?: string | undefined;
  /** Servers to ask for a custom domain's CAA records, `ip` or `ip:port`; its zone's own when empty. */
  readonly dns: readonly string[];
  /** Unix seconds. */
  readonly now: number;
  readonly signal: AbortSignal;
}

/**
 * Whoever answers at an `https://` address: by the evidence in the certificate of the TLS handshake, or else by a quote
 * asked for over a fresh nonce at `path`, or by a custom domain's `/evidences/`.
 * @throws {CliError} nobody answers (exit code 2: nothing was refused, nothing is known)
 */
export async function presentedByEndpoint(
  url: URL,
  options: EndpointOptions,
): Promise<Presented | PresentedDomain> {
  const { path, now, signal } = options;
  const handshake = await shakeHands(url, signal);
  if ("refused" in handshake) return withoutKey(handshake.refused);
  const { certificate } = handshake;
  const presented = presentedByKey("endpoint", [tlsNode(certificate)], certificate, now, ORDINARY);
  const id = hostId(url);
  const named = (evidence: Presented): Presented =>
    id === undefined ? evidence : { ...evidence, hostId: id };
  if (!("missing" in presented.quote)) return named(presented);
  if (path !== undefined) return named(await askForQuote(url, path, handshake, signal));
  const domain = await byDomainEvidence(url, handshake, options);
  if (domain === undefined) return named(presented);
  return { stored: named(domain.stored), fresh: named(domain.fresh) };
}

/** @returns undefined when the server has no such evidence */
async function byDomainEvidence(
  url: URL,
  handshake: Handshake,
  { dns, now, signal }: EndpointOptions,
): Promise<PresentedDomain | undefined> {
  let { certificate } = handshake;
  for (let attempt = 1; ; attempt++) {
    const nonce = randomBytes(32);
    const isLast = attempt === DOMAIN_ATTEMPTS;
    try {
      const files = await fetchDomainFiles(url, addressOf(url), certificate, hex(nonce), signal);
      if (isLast || isOfKey(files.certificate, certificate)) {
        return await presentedDomain(url, certificate, tlsNode(certificate), files, {
          nonce,
          dns,
          now,
          signal,
        });
      }
    } catch (err) {
      if (err instanceof NoEvidence) return undefined;
      if (isLast || !(err instanceof CertificateChanged)) {
        const why = errorMessage(err);
        throw new CliError(`could not tell: the evidence of ${url.host} cannot be read: ${why}`, 2, {
          cause: err,
        });
      }
    }
    const again = await shakeHands(url, signal);
    if ("refused" in again) return undefined;
    ({ certificate } = again);
  }
}

function tlsNode(certificate: Uint8Array): CheckNode {
  const detail = `TLS 1.3, signed by the key of the certificate with SHA-256 ${hex(sha256(certificate))}`;
  return group("TLS", [passed("key of the handshake", detail)]);
}

/** The app or instance an app URL names: `<id>[-<port>][s|g].<base domain>`. */
function hostId({ hostname }: URL): string | undefined {
  return /^([0-9a-f]{40})(?:-\d{1,5})?[sg]?\./.exec(hostname)?.[1];
}

/** Where to connect; names under `.localhost` are this machine (RFC 6761 §6.3), whatever the resolver thinks. */
function addressOf({ hostname, port }: URL): { host: string; port: number; servername?: string } {
  const host = hostname.replace(/^\[(.*)\]$/, "$1");
  const isLocal = host === "localhost" || host.endsWith(".localhost");
  return {
    host: isLocal ? "127.0.0.1" : host,
    port: port === "" ? 443 : Number(port),
    ...(isIP(host) === 0 ? { servername: host } : {}),
  };
}

/**
 * One full TLS 1.3 handshake, without resumption: the server signs it with the key of its certificate. Who issued the
 * certificate does not matter here.
 */
async function shakeHands(url: URL, signal: AbortSignal): Promise<Handshake | { refused: string }> {
  let socket: TLSSocket | undefined;
  try {
    return await withDeadline(
      `the TLS handshake with ${url.host}`,
      HANDSHAKE_LIMIT_MS,
      async (limited) => {
        // Evidence vouches for the key, not a CA: the chain is only looked at to tell.
        socket = connect({ ...addressOf(url), minVersion: "TLSv1.3", rejectUnauthorized: false });
        await once(socket, "secureConnect", { signal: limited });
        const certificate = socket.getPeerX509Certificate();
        if (certificate === undefined) throw new Error("the server presents no certificate");
        const untrusted = socket.authorized ? {} : { untrusted: errorMessage(socket.authorizationError) };
        return { certificate: new Uint8Array(certificate.raw), ...untrusted };
      },
      signal,
    );
  } catch (err) {
    if (BAD_SIGNATURE.has(errorCode(err) ?? "")) {
      return { refused: "the server presents a certificate whose key it does not hold" };
    }
    throw new CliError(`could not tell: ${url.host} does not answer over TLS 1.3: ${errorMessage(err)}`, 2, {
      cause: err,
    });
  } finally {
    socket?.destroy();
  }
}

/** Asks an app behind TLS that ends before it for a quote over a fresh nonce. */
async function askForQuote(
  url: URL,
  path: string,
  { untrusted }: Pick<Handshake, "untrusted">,
  signal: AbortSignal,
): Promise<Presented> {
  const { host, port } = addressOf(url);
  const presented = await requestQuote({ host: url.hostname, address: host, port, path, signal });
  const certificate = info(
    "server certificate",
    untrusted === undefined
      ? "public CAs vouch for this host name"
      : `no public CA vouches for it: ${untrusted}`,
  );
  return { ...presented, checks: [group("TLS", [certificate, ...presented.checks])] };
}

export interface QuoteRequest {
  readonly host: string;
  readonly address: string;
  readonly port: number;
  /** PEM of the CA the server's certificate must lead to; without it anybody's will do. */
  readonly ca?: string;
  /** Where the app answers `{quote, event_log}` for `?nonce=<hex>`. */
  readonly path: string;
  readonly signal: AbortSignal;
}

/**
 * A quote that an app gives over HTTP for a nonce of ours.
 * @throws {CliError} it gives none
 */
export async function requestQuote({
  path,
  ...target
}: QuoteRequest): Promise<Presented & { nonce: string }> {
  const nonce = randomBytes(32);
  const separator = path.includes("?") ? "&" : "?";
  const answer = await fetchApp({ ...target, path: `${path}${separator}nonce=${hex(nonce)}` }).catch(
    (err: unknown) => {
      throw new CliError(`could not tell: the app does not answer: ${errorMessage(err)}`, 2, { cause: err });
    },
  );
  if (answer.status !== 200) {
    throw new CliError(
      `could not tell: the app answers ${answer.status} on ${path}: it gives no quote there`,
      2,
    );
  }
  const { quote, eventLog } = parseQuoteAnswer(answer.body);
  return {
    subject: "quote",
    checks: [
      notChecked(
        "TLS key",
        "TLS ends at the proxy: its key is not the guest's, and the proxy reads and writes all traffic. The quote " +
          "shows that the guest answered our nonce, not that this connection leads into it",
      ),
    ],
    quote,
    eventLog: eventLog ?? { missing: "the app answers no event_log" },
    reportData: appReportData(nonce),
    fromApp: true,
    nonce: hex(nonce),
  };
}
