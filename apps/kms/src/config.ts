import { AttestationConfig } from "@dstack/ra-tls";
import { z } from "zod";

const port = z.int().min(0).max(65535);
const path = z.string().min(1);

/** `kms.toml`. Paths are relative to the working directory. */
export const KmsConfig = z.strictObject({
  host: z.string().min(1).default("0.0.0.0"),
  /** 0: any free one. */
  port: port.default(9043),
  /** The same service over gRPC; off unless given. */
  grpc_port: port.optional(),
  log_level: z.enum(["debug", "info", "warn", "error"]).default("info"),
  /** What the KMS shows to its callers; issued by the root CA. */
  tls: z.strictObject({ key: path, certs: path }),
  core: z.strictObject({
    root_ca_cert: path,
    /** The one secret everything is derived from. */
    root_ca_key: path,
    /** Put after the app id in the name of an app's CA. A certificate name has at most 64 characters. */
    subject_postfix: z.string().max(24).default(""),
    cert_log_dir: path,
    /** Any app may run any compose file under its old keys: development only. */
    allow_any_upgrade: z.boolean().default(false),
    /**
     * Keys only for a quote over a challenge and this TLS connection. Guests older than `GetChallenge` cannot make one;
     * without it, who has copied the key of a guest's certificate gets the guest's keys for as long as the quote passes
     * the policy: the certificate's dates are signed by that very key, and can be set anew.
     */
    require_fresh_evidence: z.boolean().default(false),
    /** `<dir>/<app_id>/<new_app_id>` permits that upgrade; written by `kms-allow-upgrade.sh`. */
    upgrade_registry_dir: path,
    /** `v1`: an image upgrade keeps the data disk. `seed`: the disk belongs to one image, as in the original. */
    disk_key_mode: z.enum(["v1", "seed"]).default("v1"),
  }),
  attestation: AttestationConfig,
  /** Proofs from the issue log, and handing the root key over to replicas; off unless given. Same certificate as `tls`. */
  admin: z
    .strictObject({
      host: z.string().min(1).default("127.0.0.1"),
      port,
      /** SHA-256 of the app-compose documents that replicas run. Any other guest, however good its evidence, is none. */
      replica_compose_hashes: z.array(z.string().regex(/^[0-9a-f]{64}$/)).default([]),
      /** Where `kms onboard-token` leaves what a token is known by. */
      onboard_token_dir: path,
    })
    .optional(),
});

export type KmsConfig = z.infer<typeof KmsConfig>;
/** The configuration as it is written down, defaults left out. */
export type KmsConfigInput = z.input<typeof KmsConfig>;
