import type { AppIdentity } from "@dstack/attestation";
import type { Logger } from "@dstack/daemon";
import type { AppCompose } from "./app/app-compose.js";
import type { AppKeys } from "./app/app-keys.js";
import type { ContainerEngine } from "./docker/engine.js";
import type { Measurements } from "./quote/measurements.js";
import type { Quotes } from "./quote/quotes.js";
import type { SystemHistory } from "./system/history.js";
import type { SystemPaths } from "./system/system-info.js";

/** What RPC methods and pages work with. */
export interface TappdContext {
  readonly log: Logger;
  readonly identity: AppIdentity;
  readonly compose: AppCompose;
  readonly keys: AppKeys;
  /** Simulated evidence proves nothing about hardware; every surface says so. */
  readonly platform: "tdx" | "simulated";
  readonly quotes: Quotes;
  readonly measurements: Measurements;
  readonly events: { extend(name: string, payload: Uint8Array): Promise<unknown> };
  readonly engine: ContainerEngine;
  readonly system: SystemPaths;
  /** Of the last minutes; empty unless system information is public. */
  readonly history: SystemHistory;
  /** Where the external TLS listener is, inside the VM. */
  readonly tlsPort: () => number;
  /** JSON text. */
  readonly vmConfig: string;
  /** PEM chain of the certificate the external TLS listener shows at present. */
  readonly appCertificate: () => string;
}
