import { X509Certificate } from "node:crypto";
import { InputError } from "@dstack/core";
import { RpcError } from "@dstack/prpc";
import type { AppKeys } from "../app/app-keys.js";
import type { AppK256Key, GuestKeyAlgorithm } from "@dstack/ra-tls";

/** ub-common-name of RFC 5280, appendix A.1. */
const MAX_COMMON_NAME_CHARS = 64;
const MAX_ALT_NAMES = 100;
const MAX_PATH_CHARS = 4096;
const APP_CERTIFICATE_MS = 365 * 86_400_000;

/**
 * The common name for a requested subject. SDKs send the path as subject when the app gave none, so an empty or a too
 * long one must not fail the call: then the app id stands there.
 */
export function commonNameOf(subject: string, fallback: string): string {
  return subject.length === 0 || subject.length > MAX_COMMON_NAME_CHARS ? fallback : subject;
}

/** @throws {InputError} too many names; the names themselves are checked where they are written */
export function requireAltNames(names: readonly string[]): readonly string[] {
  if (names.length > MAX_ALT_NAMES) throw new InputError(`alt_names must be at most ${MAX_ALT_NAMES} names`);
  return names;
}

/** @throws {InputError} a longer path than anybody needs */
export function requirePath(path: string): string {
  if (path.length > MAX_PATH_CHARS) throw new InputError(`path must be at most ${MAX_PATH_CHARS} characters`);
  return path;
}

/** A year from now, but no longer than the CA that signs. */
export function defaultNotAfter(keys: AppKeys, now: number = Date.now()): Date {
  const caEnds = Date.parse(new X509Certificate(keys.ca.certPem).validTo);
  return new Date(Math.min(now + APP_CERTIFICATE_MS, caEnds));
}

/** @throws {InputError} another curve */
export function parseKeyAlgorithm(algorithm: string): GuestKeyAlgorithm {
  if (algorithm === "" || algorithm === "secp256k1" || algorithm === "k256") return "secp256k1";
  if (algorithm === "ed25519") return "ed25519";
  throw new InputError("algorithm must be secp256k1 or ed25519");
}

/** @throws {RpcError} `unavailable` when the KMS issued none */
export function requireK256Key(keys: AppKeys): AppK256Key {
  if (keys.k256 === undefined) {
    throw new RpcError("unavailable", "this app has no secp256k1 key: its KMS does not issue one");
  }
  return keys.k256;
}
