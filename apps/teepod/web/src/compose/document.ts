import { toAppComposeText } from "@dstack/app-compose";
import type { AppComposeOptions } from "@dstack/app-compose";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, utf8ToBytes } from "@noble/hashes/utils.js";

/** An app-compose document as it will be sent, and what follows from its bytes. */
export interface AppDocument {
  readonly text: string;
  readonly bytes: number;
  /** 64 hex digits. */
  readonly hash: string;
  /** 40 hex digits: what the app is called by. */
  readonly appId: string;
  /** What its developer should know before it runs, a sentence each. */
  readonly notices: readonly string[];
}

/**
 * The document made of a compose file. Hashed by our own code: `crypto.subtle` is only there in a secure context, and
 * teepod is often reached over plain HTTP.
 * @throws an error with one sentence on what is wrong with the file
 */
export function makeDocument(fileText: string, options: AppComposeOptions): AppDocument {
  const { text, notices } = toAppComposeText(fileText, options);
  return { ...describeDocument(text), notices };
}

/** The document that this text already is. */
export function describeDocument(text: string): AppDocument {
  const bytes = utf8ToBytes(text);
  const hash = bytesToHex(sha256(bytes));
  return { text, bytes: bytes.length, hash, appId: hash.slice(0, 40), notices: [] };
}
