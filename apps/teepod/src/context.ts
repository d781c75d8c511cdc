import type { Logger } from "@dstack/daemon";
import type { TeepodConfig } from "./config.js";
import type { AuditLog } from "./http/audit-log.js";
import type { ImageStore } from "./images/image-store.js";
import type { Clock } from "./clock.js";
import type { EnvKeySource } from "./kms/env-key.js";
import type { VmManager } from "./vm/vm-manager.js";

/** What the RPC methods work with. */
export interface TeepodContext {
  readonly config: TeepodConfig;
  readonly vms: VmManager;
  readonly images: ImageStore;
  readonly envKeys: EnvKeySource;
  readonly audit: AuditLog;
  readonly clock: Clock;
  readonly log: Logger;
}
