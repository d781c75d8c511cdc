import { readFile } from "node:fs/promises";
import { InputError, sameBytes, sha256 } from "@dstack/core";
import { RpcError } from "@dstack/prpc";
import type { FastifyInstance, FastifyRequest } from "fastify";
import type { TeepodConfig } from "../config.js";

export type Role = "viewer" | "operator";

/** Who is calling, and how. */
export interface Caller {
  /** For the audit log. */
  readonly name: string;
  readonly role: Role;
}

interface KnownToken {
  readonly name: string;
  readonly role: Role;
  readonly digest: Uint8Array;
}

const MIN_TOKEN_LENGTH = 16;

/** Reads the tokens of the configuration; only their digests stay in memory. */
export async function loadTokens(config: TeepodConfig["auth"]): Promise<KnownToken[]> {
  return Promise.all(
    config.tokens.map(async ({ name, role, token, token_file: file }) => {
      const text = token ?? (file === undefined ? "" : (await readFile(file, "utf8")).trim());
      if (text.length < MIN_TOKEN_LENGTH) {
        throw new InputError(
          `the token in ${file ?? "the configuration"} has fewer than ${MIN_TOKEN_LENGTH} characters`,
        );
      }
      return { name: name ?? role, role, digest: sha256(text) };
    }),
  );
}

function bearer(header: string | undefined): string | undefined {
  return /^Bearer +(\S+)$/i.exec(header ?? "")?.[1];
}

/** Compares against every token, each in constant time, so that the time tells nothing about any of them. */
function findToken(tokens: readonly KnownToken[], presented: string): KnownToken | undefined {
  const digest = sha256(presented);
  let found: KnownToken | undefined;
  for (const token of tokens) {
    if (sameBytes(token.digest, digest)) found = token;
  }
  return found;
}

/**
 * Refuses requests a web page elsewhere made a browser send. The token already does: no browser sends it by itself.
 * Browsers name the page's origin on every request that may change something; other clients name none.
 */
function requireSameOrigin(request: FastifyRequest): void {
  const site = request.headers["sec-fetch-site"];
  const { origin, host } = request.headers;
  const foreignSite = site !== undefined && site !== "same-origin" && site !== "none";
  const foreignOrigin = origin !== undefined && origin !== `http://${host}` && origin !== `https://${host}`;
  if (foreignSite || foreignOrigin) {
    throw new RpcError("permission_denied", "requests made by pages of another origin are refused");
  }
}

/** The caller of an authenticated request. */
export type CallerOf = (request: FastifyRequest) => Caller;

/** Lets only known callers through to anything but `/healthz`. */
export function addAuthentication(app: FastifyInstance, tokens: readonly KnownToken[]): CallerOf {
  const callers = new WeakMap<FastifyRequest, Caller>();
  app.addHook("onRequest", async (request, reply) => {
    if (request.routeOptions.url === "/healthz") return;
    const presented = bearer(request.headers.authorization);
    const token = presented === undefined ? undefined : findToken(tokens, presented);
    if (token === undefined) {
      reply.header("www-authenticate", 'Bearer realm="teepod"');
      const what =
        presented === undefined ? "a bearer token is needed" : "the bearer token is not known here";
      throw new RpcError("unauthenticated", what);
    }
    callers.set(request, { name: token.name, role: token.role });
    if (request.method !== "GET" && request.method !== "HEAD") requireSameOrigin(request);
  });
  return (request) => {
    const caller = callers.get(request);
    if (caller === undefined) throw new RpcError("unauthenticated", "a bearer token is needed");
    return caller;
  };
}

/** @throws {RpcError} the caller may only look */
export function requireOperator(caller: Caller | undefined): Caller {
  if (caller === undefined) throw new RpcError("unauthenticated", "a bearer token is needed");
  if (caller.role !== "operator") {
    throw new RpcError("permission_denied", "this token may look at VMs but not change them");
  }
  return caller;
}
