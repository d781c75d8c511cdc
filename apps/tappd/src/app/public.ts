import { RpcError } from "@dstack/prpc";
import type { AppCompose } from "./app-compose.js";

/** @throws {RpcError} `permission_denied` unless the compose document made logs and the container list public (G8) */
export function requirePublicLogs(compose: AppCompose): void {
  if (!compose.publicLogs) {
    throw new RpcError(
      "permission_denied",
      "this app keeps its containers and their logs private (public_logs)",
    );
  }
}

/** @throws {RpcError} `permission_denied` unless the compose document made system information public (G8) */
export function requirePublicSysinfo(compose: AppCompose): void {
  if (!compose.publicSysinfo) {
    throw new RpcError("permission_denied", "this app keeps its system information private (public_sysinfo)");
  }
}
