import { RpcError } from "@dstack/prpc";
import type { AppCompose } from "./app-compose.js";

/** What an app keeps to itself unless its compose document opens it (G8). */
export interface Guarded {
  /** What is told instead of it. */
  readonly closed: string;
  /** The key of the compose document that opens it. */
  readonly key: "public_logs" | "public_sysinfo" | "public_tcbinfo";
  isPublic(compose: AppCompose): boolean;
}

export const CONTAINERS: Guarded = {
  closed: "this app keeps its containers and their logs private",
  key: "public_logs",
  isPublic: (compose) => compose.publicLogs,
};
export const SYSTEM_INFORMATION: Guarded = {
  closed: "this app keeps its system information private",
  key: "public_sysinfo",
  isPublic: (compose) => compose.publicSysinfo,
};
export const EVENT_LOG: Guarded = {
  closed: "this app shows no event log here; its certificate carries it, as evidence",
  key: "public_tcbinfo",
  isPublic: (compose) => compose.publicTcbinfo,
};
export const COMPOSE_DOCUMENT: Guarded = {
  closed: "this app keeps its compose document private",
  key: "public_tcbinfo",
  isPublic: (compose) => compose.publicTcbinfo,
};

/** One sentence for whoever asks for something private. */
export const privateSentence = ({ closed, key }: Guarded): string => `${closed} (${key})`;

/** @throws {RpcError} `permission_denied` unless the compose document made it public (G8) */
export function requirePublic(compose: AppCompose, guarded: Guarded): void {
  if (!guarded.isPublic(compose)) throw new RpcError("permission_denied", privateSentence(guarded));
}
