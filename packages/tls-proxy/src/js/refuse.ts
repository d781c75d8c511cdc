import type { Socket } from "node:net";
import { assertNever } from "@dstack/core";
import type { Alert } from "../client-hello.js";

/** How long a refused client may take to read its refusal. */
const LINGER_MS = 1_000;

const PAGE =
  "<!doctype html><title>400 Bad Request</title><p>This port speaks HTTPS. Use an https:// address.</p>\n";
const PLAIN_HTTP_ANSWER =
  "HTTP/1.1 400 Bad Request\r\nContent-Type: text/html; charset=utf-8\r\n" +
  `Content-Length: ${PAGE.length}\r\nConnection: close\r\n\r\n${PAGE}`;

/** Says in clear text that TLS is wanted here. */
export function refusePlainHttp(socket: Socket): void {
  sayAndClose(socket, Buffer.from(PLAIN_HTTP_ANSWER));
}

/** Answers a ClientHello, or what stands in its place, with a fatal alert. */
export function refuseTls(socket: Socket, alert: Alert): void {
  sayAndClose(socket, Buffer.from([21, 3, 3, 0, 2, 2, alertNumber(alert)]));
}

/** Ends our side and drops what the client still sends for a moment: closing at once would reset the answer away. */
export function sayAndClose(socket: Socket, bytes: Uint8Array | undefined): void {
  const timer = setTimeout(() => socket.destroy(), LINGER_MS);
  socket.once("close", () => clearTimeout(timer));
  socket.once("end", () => socket.destroySoon());
  socket.resume();
  if (bytes === undefined) socket.end();
  else socket.end(bytes);
}

function alertNumber(alert: Alert): number {
  if (alert === "unexpected_message") return 10;
  if (alert === "decode_error") return 50;
  if (alert === "protocol_version") return 70;
  if (alert === "internal_error") return 80;
  if (alert === "unrecognized_name") return 112;
  return assertNever(alert);
}
