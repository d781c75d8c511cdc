import { createHash, randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import type { TLSSocket } from "node:tls";
import { expect } from "vitest";
import { checkCertificate } from "../../src/index.js";
import type { CheckedCertificate, DataPlane, DataPlaneOptions, Limits } from "../../src/index.js";
import { BASE, connectTcp, readAll, sessionOf, wildcard } from "../apps.js";
import { helloMessage, records } from "../hello.js";

/** Starts a data plane as a control plane does, with one app to reach and a certificate unless told otherwise. */
export type Start = (
  options?: Partial<DataPlaneOptions> & { limits?: Partial<Limits> },
) => Promise<DataPlane>;

/** Deadlines no test reaches that does not ask for shorter ones, however slow the machine. */
export const PATIENT = {
  firstByteMs: 600_000,
  helloMs: 600_000,
  handshakeMs: 600_000,
  lookupMs: 600_000,
  connectMs: 600_000,
  halfClosedMs: 600_000,
} as const satisfies Partial<Limits>;

const ALERT = {
  unexpected_message: 10,
  decode_error: 50,
  protocol_version: 70,
  internal_error: 80,
  unrecognized_name: 112,
} as const;
export type AlertName = keyof typeof ALERT;
export const alertBytes = (name: AlertName): Buffer => Buffer.from([21, 3, 3, 0, 2, 2, ALERT[name]]);

export const certificate = checked(wildcard);

export function checked(pair: typeof wildcard, ...baseDomains: string[]): CheckedCertificate {
  return checkCertificate({ ...pair, baseDomains: [BASE, ...baseDomains], now: new Date() });
}

export const echo = (socket: Socket): void => void socket.pipe(socket);

/** Reads the whole request, and only after its end answers with its SHA-256 and 100 KB. */
export const answerAfterEnd = (socket: Socket): void =>
  void readAll(socket).then((request) => {
    socket.write(createHash("sha256").update(request).digest());
    socket.end(Buffer.alloc(100_000, 7));
  });

export async function expectWholeExchange(client: TLSSocket): Promise<void> {
  const upload = randomBytes(200_000);
  client.end(upload);
  const answer = await readAll(client);
  expect(answer.subarray(0, 32)).toEqual(createHash("sha256").update(upload).digest());
  expect(answer.length).toBe(100_032);
}

export function resuming(client: TLSSocket): { session?: Buffer } {
  const session = sessionOf(client);
  return session === undefined ? {} : { session };
}

/** The answer to a hand-made ClientHello. */
export const answerTo = async (plane: DataPlane, bytes: Uint8Array, index = 0): Promise<Buffer> => {
  const socket = await connectTcp(plane, index);
  socket.write(bytes);
  return readAll(socket);
};
export const helloFor = (serverName: string): Buffer => records(helloMessage({ serverName }));
