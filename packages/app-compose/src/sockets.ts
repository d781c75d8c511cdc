import { InputError } from "@dstack/core/errors";

/** One thing that a scoped socket of the guest agent lets its containers do. */
export type SocketScope =
  { readonly kind: "quote" } | { readonly kind: "cert" | "key"; readonly prefix: string };

/** It becomes the name of a directory in the guest. */
const NAME = /^[a-z0-9][a-z0-9-]{0,31}$/;
const MAX_SOCKETS = 16;
const MAX_SCOPES = 32;
const MAX_PREFIX_CHARS = 255;

/**
 * Reads `sockets` of an app-compose document: by name, what the socket is for. `quote` gives quotes; `key:<prefix>` and
 * `cert:<prefix>` give keys, and keys with certificates, of the paths that begin with the prefix.
 * @param value what stands there; undefined is none
 * @throws {InputError} naming what is wrong
 */
export function parseSockets(value: unknown): ReadonlyMap<string, readonly SocketScope[]> {
  if (value === undefined) return new Map();
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new InputError('"sockets" of the app-compose document must map names to lists of scopes');
  const entries = Object.entries(value);
  if (entries.length > MAX_SOCKETS)
    throw new InputError(`"sockets" of the app-compose document may name ${MAX_SOCKETS} at most`);
  return new Map(entries.map(([name, scopes]) => [name, parseScopes(name, scopes)]));
}

function parseScopes(name: string, scopes: unknown): SocketScope[] {
  if (!NAME.test(name))
    throw new InputError(
      `socket "${name}": its name must be lower-case letters, digits and dashes, 32 at most`,
    );
  if (!Array.isArray(scopes) || scopes.length > MAX_SCOPES)
    throw new InputError(`socket "${name}" must have a list of at most ${MAX_SCOPES} scopes`);
  return scopes.map((scope: unknown) => parseScope(name, scope));
}

function parseScope(name: string, scope: unknown): SocketScope {
  if (scope === "quote") return { kind: "quote" };
  const [, kind, prefix = ""] = (typeof scope === "string" && /^(cert|key):(\P{C}*)$/u.exec(scope)) || [];
  if ((kind !== "cert" && kind !== "key") || prefix.length > MAX_PREFIX_CHARS)
    throw new InputError(
      `socket "${name}": a scope must be "quote", "cert:<path prefix>" or "key:<path prefix>"`,
    );
  const trimmed = prefix.replace(/\/+$/, "");
  // It would cover paths that do not begin with a slash too.
  if (trimmed === "" && prefix !== "")
    throw new InputError(`socket "${name}": "${kind}:" is for all paths, "${scope as string}" is for none`);
  return { kind, prefix: trimmed };
}
