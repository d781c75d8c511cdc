import { X509Certificate } from "node:crypto";
import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { freshReportData } from "@dstack/attestation";
import type { FreshPurpose } from "@dstack/attestation";
import { InputError, withDeadline } from "@dstack/core";
import { httpTransport } from "@dstack/prpc";
import type { Transport } from "@dstack/prpc";
import { loadP256, splitPem } from "@dstack/ra-tls";
import { Agent, Client, buildConnector } from "undici";
import { DEFAULT_VERIFY_MS } from "./admission.js";
import type { Verifier } from "./admission.js";
import { sessionOf } from "./session.js";
import { DEFAULT_HANDSHAKE_MS, TLS_1_3_WITHOUT_RESUMPTION } from "./tls.js";

export interface RaTlsTransportOptions {
  /** `https://host:port`, with or without a path. */
  url: string;
  /** The server's certificate must be signed by one of these, with no other CA between. */
  caPem: string;
  /** PEM of our own private key; the certificate chain that goes with it carries our evidence. */
  key?: string;
  /** PEM, leaf first. */
  certChain?: string;
  /** The name the server's certificate must have, where it is not the host of the URL. */
  servername?: string;
  /** Also verify the evidence in the server's certificate, before the first byte of a request is sent. */
  verifyServer?: Verifier;
}

/** Calls over one TLS connection, which is not replaced when it breaks: calls fail as `unavailable` from then on. */
export interface RaTlsSession extends Transport {
  /**
   * What a quote has to be over to be fresh evidence for the server at the other end, and for this connection only.
   * @param challenge the server's, got over this connection
   * @throws {InputError} the challenge is too short, or the transport has no key of its own
   */
  freshReportData(purpose: FreshPurpose, challenge: Uint8Array): Uint8Array;
}

export interface RaTlsTransport extends Transport, AsyncDisposable {
  /** Gives a new connection to some work, and closes it afterwards. It is opened by the first call. */
  withSession<T>(work: (session: RaTlsSession) => Promise<T>): Promise<T>;
}

/** A session lives while its client makes a quote, which can take long on an emulated machine. */
const SESSION_IDLE_MS = 60_000;

/**
 * A chain to the KMS's root is not enough: every app has a CA below that root, whose key its containers can use, and
 * with it certificates for any name. Daemons have theirs from the root itself, and are no CA.
 */
function requireDaemon(certificate: X509Certificate, roots: readonly X509Certificate[]): void {
  if (certificate.ca) throw new Error("the server showed the certificate of a CA");
  if (!roots.some((root) => certificate.checkIssued(root) && certificate.verify(root.publicKey))) {
    throw new Error("the server's certificate was not issued by the CA itself but by one below it");
  }
}

async function verify(
  socket: Socket,
  roots: readonly X509Certificate[],
  verifier: Verifier | undefined,
): Promise<void> {
  // For a URL without TLS the connector gives a bare socket.
  if (!(socket instanceof TLSSocket)) throw new Error("the connection is not TLS");
  const certificate = socket.getPeerX509Certificate();
  if (certificate === undefined) throw new Error("the server showed no certificate");
  requireDaemon(certificate, roots);
  if (verifier === undefined) return;
  await withDeadline("verifying the server's evidence", DEFAULT_VERIFY_MS, () =>
    verifier.verifyPeer(new Uint8Array(certificate.raw)),
  );
}

/**
 * Makes connections over TLS 1.3 to a server that the CA itself issued a certificate for; what {@link raTlsTransport}
 * calls over, for requests that are not pRPC. Destroy it to close its connections.
 * @throws {InputError} a URL that is not `https:`, or no certificate in `caPem`
 */
export function raTlsAgent(options: RaTlsTransportOptions): Agent {
  return new Agent({ connect: dialer(options) });
}

/**
 * pRPC calls over TLS 1.3, with our RA-TLS certificate if one is given. Sessions are not resumed: every connection
 * shows its certificates anew. Dispose it to close its connections.
 * @throws {InputError} a URL that is not `https:`, or no certificate in `caPem`
 */
export function raTlsTransport(options: RaTlsTransportOptions): RaTlsTransport {
  const dial = dialer(options);
  const agent = new Agent({ connect: dial });
  return {
    ...httpTransport({ baseUrl: options.url, dispatcher: agent }),
    withSession: (work) => withSession(options, dial, work),
    [Symbol.asyncDispose]: () => agent.destroy(),
  };
}

function dialer(options: RaTlsTransportOptions): buildConnector.connector {
  const { verifyServer } = options;
  // Guests have the URL from their host: without TLS anybody could answer for the KMS.
  if (new URL(options.url).protocol !== "https:")
    throw new InputError("the URL of an RA-TLS server must be https");
  const roots = splitPem(options.caPem).map((pem) => new X509Certificate(pem));
  const connect = buildConnector({
    ...TLS_1_3_WITHOUT_RESUMPTION,
    maxCachedSessions: 0,
    timeout: DEFAULT_HANDSHAKE_MS,
    ca: options.caPem,
    rejectUnauthorized: true,
    ...(options.key === undefined ? {} : { key: options.key }),
    ...(options.certChain === undefined ? {} : { cert: options.certChain }),
    ...(options.servername === undefined ? {} : { servername: options.servername }),
  });
  return (target, callback) => {
    connect(target, (err, socket) => {
      if (err !== null) {
        callback(err, null);
        return;
      }
      verify(socket, roots, verifyServer).then(
        () => callback(null, socket),
        (refused: unknown) => {
          socket.destroy();
          callback(refused instanceof Error ? refused : new Error(String(refused)), null);
        },
      );
    });
  };
}

async function withSession<T>(
  options: RaTlsTransportOptions,
  dial: buildConnector.connector,
  work: (session: RaTlsSession) => Promise<T>,
): Promise<T> {
  let connection: TLSSocket | undefined;
  const client = new Client(new URL(options.url).origin, {
    keepAliveTimeout: SESSION_IDLE_MS,
    connect: (target, callback) => {
      if (connection !== undefined) {
        // Evidence for the first connection is none for a second one.
        callback(new Error("the connection was closed by the server"), null);
        return;
      }
      dial(target, (...result) => {
        if (result[1] instanceof TLSSocket) connection = result[1];
        callback(...result);
      });
    },
  });
  const session: RaTlsSession = {
    ...httpTransport({ baseUrl: options.url, dispatcher: client }),
    freshReportData(purpose, challenge) {
      if (options.key === undefined) throw new InputError("fresh evidence is about the client's own key");
      if (connection === undefined) throw new Error("the connection is opened by the first call");
      const { exporter } = sessionOf(connection);
      return freshReportData(purpose, { challenge, exporter, spki: loadP256(options.key).publicKeySpki });
    },
  };
  try {
    return await work(session);
  } finally {
    await client.destroy();
  }
}
