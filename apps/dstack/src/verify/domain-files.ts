import { once } from "node:events";
import { type IncomingMessage, request } from "node:http";
import { connect } from "node:tls";
import { sameBytes, withDeadline } from "@dstack/core";

/** What a custom domain's `/evidences/` holds, as it was served on connections with one and the same certificate. */
export interface DomainFiles {
  readonly account: string;
  readonly certificate: string;
  readonly sums: string;
  readonly quote: string;
  /** `quote.json` for our nonce. */
  readonly freshQuote: string;
}

interface Address {
  readonly host: string;
  readonly port: number;
  readonly servername?: string;
}

/** Much more than a quote with its event log. */
const MAX_FILE_BYTES = 4 * 2 ** 20;
const FILE_LIMIT_MS = 60_000;

/** The server gives no `sha256sum.txt`: it has no such evidence. */
export class NoEvidence extends Error {
  override name = "NoEvidence";
}

/** The server changed its certificate while we read: what we have does not belong together. */
export class CertificateChanged extends Error {
  override name = "CertificateChanged";
}

/**
 * Each file comes over a connection of its own, with a whole handshake, in which the server must show the certificate.
 * @param address where to connect to
 * @param certificate DER
 * @throws {NoEvidence | CertificateChanged} or what went wrong with the connection
 */
export async function fetchDomainFiles(
  url: URL,
  address: Address,
  certificate: Uint8Array,
  nonceHex: string,
  signal: AbortSignal,
): Promise<DomainFiles> {
  const get = (file: string): Promise<string> =>
    withDeadline(
      `reading ${file}`,
      FILE_LIMIT_MS,
      (limit) => fetchFile(url, address, certificate, file, limit),
      signal,
    );
  const sums = await get("sha256sum.txt").catch((err: unknown) => {
    signal.throwIfAborted();
    if (err instanceof CertificateChanged) throw err;
    throw new NoEvidence("there is no /evidences/sha256sum.txt", { cause: err });
  });
  return {
    sums,
    account: await get("acme-account.json"),
    certificate: await get("cert.pem"),
    quote: await get("quote.json"),
    freshQuote: await get(`quote.json?nonce=${nonceHex}`),
  };
}

async function fetchFile(
  url: URL,
  address: Address,
  certificate: Uint8Array,
  file: string,
  signal: AbortSignal,
): Promise<string> {
  // The evidence vouches for the key, not a CA.
  const socket = connect({ ...address, minVersion: "TLSv1.3", rejectUnauthorized: false });
  try {
    await once(socket, "secureConnect", { signal });
    const served = socket.getPeerX509Certificate()?.raw;
    if (served === undefined || !sameBytes(served, certificate)) {
      throw new CertificateChanged("the server shows another certificate than a moment before");
    }
    const headers = { host: url.host, connection: "close" };
    const asked = request({ createConnection: () => socket, path: `/evidences/${file}`, headers, signal });
    asked.end();
    const [answer] = (await once(asked, "response")) as [IncomingMessage];
    // An app that answers every path with its own page has no evidence there.
    const isPage = answer.headers["content-type"]?.startsWith("text/html") === true;
    if (answer.statusCode !== 200 || isPage) {
      throw new Error(`/evidences/${file} is answered with status ${answer.statusCode}`);
    }
    return await readText(answer, file);
  } finally {
    socket.destroy();
  }
}

async function readText(answer: IncomingMessage, file: string): Promise<string> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of answer as AsyncIterable<Uint8Array>) {
    length += part.length;
    if (length > MAX_FILE_BYTES) throw new Error(`/evidences/${file} is larger than ${MAX_FILE_BYTES} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}
