import type { Socket } from "node:net";
import { errorCode } from "@dstack/core";

/** Status and sentence for what Node's HTTP parser refuses before there is a request. */
function refusal(code: string | undefined): readonly [status: string, message: string] {
  if (code === "ERR_HTTP_REQUEST_TIMEOUT") return ["408 Request Timeout", "the request was sent too slowly"];
  if (code === "HPE_HEADER_OVERFLOW")
    return ["431 Request Header Fields Too Large", "the request's headers are too large"];
  return ["400 Bad Request", "malformed HTTP request"];
}

/** Answers bytes that are no HTTP request in the same form as every other error, and closes the connection. */
export function answerMalformedRequest(err: Error, socket: Socket): void {
  if (errorCode(err) === "ECONNRESET" || !socket.writable) {
    socket.destroy();
    return;
  }
  const [status, message] = refusal(errorCode(err));
  const body = JSON.stringify({ error: message });
  socket.end(
    `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\nconnection: close\r\n\r\n${body}`,
    () => socket.destroy(),
  );
}
