import { RpcError } from "@dstack/prpc";
import type { AppCompose } from "./app-compose.js";

/** What an app keeps to itself unless its compose document opens it (G8). */
export interface Guarded {
  /** As in "keeps its … private". */
  readonly what: string;
  /** The key of the compose document that opens it. */
  readonly key: "public_logs" | "public_sysinfo" | "public_tcbinfo";
  isPublic(compose: AppCompose): boolean;
}

export const CONTAINERS: Guarded = {
  what: "containers and their logs",
  key: "public_logs",
  isPublic: (compose) => compose.publicLogs,
};
export const SYSTEM_INFORMATION: Guarded = {
  what: "system information",
  key: "public_sysinfo",
  isPublic: (compose) => compose.publicSysinfo,
};
export const EVENT_LOG: Guarded = {
  what: "event log",
  key: "public_tcbinfo",
  isPublic: (compose) => compose.publicTcbinfo,
};
export const COMPOSE_DOCUMENT: Guarded = {
  what: "compose document",
  key: "public_tcbinfo",
  isPublic: (compose) => compose.publicTcbinfo,
};

/** One sentence for whoever asks for something private. */
export const privateSentence = ({ what, key }: Guarded): string =>
  `this app keeps its ${what} private (${key})`;

/** @throws {RpcError} `permission_denied` unless the compose document made it public (G8) */
export function requirePublic(compose: AppCompose, guarded: Guarded): void {
  if (!guarded.isPublic(compose)) throw new RpcError("permission_denied", privateSentence(guarded));
}
