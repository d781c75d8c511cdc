import { InputError } from "@dstack/core";

/** Where requests for a domain go: a container's plain HTTP/1.1, or HTTP/2 without TLS for gRPC. */
export interface Target {
  readonly protocol: "http" | "grpc";
  readonly host: string;
  readonly port: number;
}

/**
 * Reads `app`, `app:8080`, `http://app:8080` or `grpc://app:50051`. Without a port it is 80.
 * @throws {InputError} anything else: a path, TLS, a port that is none
 */
export function parseTarget(text: string): Target {
  const hint = `${JSON.stringify(text)} must be such as http://app:80 or grpc://app:50051`;
  const whole = /^[a-z0-9+.-]+:\/\//i.test(text) ? text : `http://${text}`;
  const scheme = /^([a-z0-9+.-]+):/i.exec(whole)?.[1]?.toLowerCase() ?? "";
  if (scheme !== "http" && scheme !== "grpc") {
    throw new InputError(`${hint}: ${scheme}:// is not known, requests stay inside the VM`);
  }
  // Node's URL gives hosts and ports only to schemes it knows.
  const address = whole.replace(/^grpc:/i, "http:");
  if (!URL.canParse(address)) throw new InputError(hint);
  const url = new URL(address);
  if (url.pathname !== "/" || url.search !== "" || url.hash !== "") {
    throw new InputError(`${hint}: paths are passed on as they are, a target has none`);
  }
  if (url.username !== "" || url.password !== "") throw new InputError(`${hint}: a target has no password`);
  const port = url.port === "" ? 80 : Number(url.port);
  if (port === 0) throw new InputError(hint);
  return { protocol: scheme, host: url.hostname.replace(/^\[(.*)\]$/, "$1"), port };
}
