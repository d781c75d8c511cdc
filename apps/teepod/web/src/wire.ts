/** Messages of the Teepod service in its JSON dialect, as far as the page reads them (packages/proto/proto/teepod.proto). */
export interface Configuration {
  readonly name: string;
  readonly image: string;
  readonly compose_file: string;
  readonly vcpu: number;
  /** MB */
  readonly memory: number;
  /** GB */
  readonly disk_size: number;
  readonly ports: readonly PortMapping[];
  /** Hex. */
  readonly encrypted_env: string;
  readonly app_id?: string;
}

export interface PortMapping {
  readonly protocol: string;
  readonly host_port: number;
  readonly vm_port: number;
}

export interface VmInfo {
  readonly id: string;
  readonly name: string;
  readonly app_id: string;
  readonly configuration: Configuration;
  readonly etag: string;
}

export interface GetInfoResponse {
  readonly found: boolean;
  readonly info?: VmInfo;
}

export interface BootStep {
  readonly at: string;
  readonly step: string;
  readonly state: "start" | "done" | "error" | "info";
  readonly message: string;
}

export interface ImageInfo {
  readonly name: string;
  readonly description: string;
}

export interface AuditEntry {
  readonly seq: number;
  readonly at: string;
  readonly who: string;
  readonly role: string;
  readonly from: string;
  readonly method: string;
  readonly vm: string;
  readonly outcome: string;
  readonly message?: string;
  readonly result?: string;
}

export interface AuditPage {
  readonly entries: readonly AuditEntry[];
  readonly older?: number;
}
