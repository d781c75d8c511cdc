import { fromBinary } from "@bufbuild/protobuf";
import { errorMessage } from "@dstack/core";
import { Agent, request } from "undici";
import type { Dispatcher } from "undici";
import type { Transport } from "./client.js";
import { ProtoErrorSchema } from "./gen/prpc_pb.js";
import { RpcError, codeOfStatus } from "./rpc-error.js";

/** The largest answer a client takes. */
const MAX_RESPONSE_BYTES = 32 * 2 ** 20;

export interface HttpTransportOptions {
  /** `http://host:port` or `https://host:port`, with or without a path; `/prpc` is used where there is none. */
  baseUrl: string;
  /** Makes the connections; undici's global one unless given. */
  dispatcher?: Dispatcher;
  headers?: Record<string, string>;
}

async function readBody(body: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for await (const chunk of body) {
    length += chunk.length;
    if (length > MAX_RESPONSE_BYTES) throw new Error(`the answer is larger than ${MAX_RESPONSE_BYTES} bytes`);
    chunks.push(chunk);
  }
  return new Uint8Array(Buffer.concat(chunks));
}

/** The server's message: a `ProtoError`, or JSON where something else than a pRPC listener answered. */
function messageOf(status: number, contentType: unknown, body: Uint8Array): string {
  try {
    if (contentType === "application/octet-stream") return fromBinary(ProtoErrorSchema, body).message;
    const json: unknown = JSON.parse(new TextDecoder().decode(body));
    if (typeof json === "object" && json !== null && "error" in json && typeof json.error === "string") {
      return json.error;
    }
  } catch {
    // Not an answer of ours; the status says all there is.
  }
  return `the server answered with status ${status}`;
}

function prpcUrl(baseUrl: string): string {
  const url = new URL(baseUrl);
  const path = url.pathname.replace(/\/+$/, "");
  return url.origin + (path === "" ? "/prpc" : path);
}

/**
 * Protobuf over HTTP POST. A server that cannot be reached rejects with the code `unavailable`; an aborted call
 * rejects with the signal's reason.
 */
export function httpTransport(options: HttpTransportOptions): Transport {
  const base = prpcUrl(options.baseUrl);
  return {
    async call(service, method, body, { signal }) {
      let status: number;
      let contentType: unknown;
      let answer: Uint8Array;
      try {
        const response = await request(`${base}/${service}.${method}`, {
          method: "POST",
          headers: { ...options.headers, "content-type": "application/octet-stream" },
          body,
          ...(options.dispatcher === undefined ? {} : { dispatcher: options.dispatcher }),
          ...(signal === undefined ? {} : { signal }),
        });
        status = response.statusCode;
        contentType = response.headers["content-type"];
        answer = await readBody(response.body);
      } catch (err) {
        signal?.throwIfAborted();
        throw new RpcError("unavailable", `calling ${service}.${method} failed: ${errorMessage(err)}`, {
          cause: err,
        });
      }
      if (status === 200) return answer;
      throw new RpcError(codeOfStatus(status), messageOf(status, contentType, answer));
    },
  };
}

/** As {@link httpTransport}, over a unix socket. Dispose it to close its connections. */
export function unixTransport(
  socketPath: string,
  options: Omit<HttpTransportOptions, "baseUrl" | "dispatcher"> = {},
): Transport & AsyncDisposable {
  const agent = new Agent({ connect: { socketPath } });
  return {
    ...httpTransport({ ...options, baseUrl: "http://localhost", dispatcher: agent }),
    [Symbol.asyncDispose]: () => agent.destroy(),
  };
}
