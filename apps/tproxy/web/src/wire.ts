/** Messages of the TproxyAdmin service in its JSON dialect, as far as the page reads them (packages/proto/proto/tproxy_admin.proto). */
export interface Connection {
  readonly id: number;
  readonly source: string;
  readonly server_name: string;
  readonly instance_id: string;
  readonly state: string;
  /** Unix milliseconds. */
  readonly since: number;
  readonly bytes_to_app: number;
  readonly bytes_to_client: number;
}

export interface Connections {
  readonly connections: readonly Connection[];
  /** On this node, whatever was searched for. */
  readonly open: number;
}

export interface Certificate {
  readonly base_domains: readonly string[];
  readonly account_uri: string;
  readonly caa: readonly string[];
  readonly can_quote: boolean;
  readonly keys: readonly CertificateKey[];
  readonly num_keys: number;
  readonly certificates: readonly ServedCertificate[];
}

export interface ServedCertificate {
  readonly file: string;
  readonly names: readonly string[];
  /** Unix milliseconds. */
  readonly not_after: number;
  readonly refusal: string;
}

export interface CertificateKey {
  readonly digest: string;
  readonly in_use: boolean;
  readonly has_evidence: boolean;
}

export interface KeyVerdict {
  readonly refusal: string;
  readonly app_id: string;
  readonly instance_id: string;
}

export interface AuditEntry {
  readonly seq: number;
  readonly at: string;
  readonly who: string;
  readonly from: string;
  readonly method: string;
  readonly about: string;
  readonly outcome: string;
  readonly message?: string;
}

export interface AuditPage {
  readonly entries: readonly AuditEntry[];
  readonly older?: number;
  readonly head_seq: number;
  readonly head_hash: string;
  readonly broken: string;
}
