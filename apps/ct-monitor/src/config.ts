import { AttestationConfig } from "@dstack/ra-tls";
import { logIdOf } from "@dstack/ct";
import { errorMessage } from "@dstack/core";
import { z } from "zod";

const seconds = z.number().positive();

const domain = z
  .string()
  .transform((text) => text.toLowerCase().replace(/^\*\./, "").replace(/\.$/, ""))
  .refine(
    (text) => /^(?=.{1,253}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})+$/.test(text),
    "must be a domain name",
  );

const baseUrl = z.url({ protocol: /^https?$/ }).transform((text) => text.replace(/\/+$/, ""));

const CtLogConfig = z.strictObject({
  /** Submission URL, without `/ct/v1`: `url` or `submission_url` in log lists. */
  url: baseUrl,
  /** Of a tiled log (c2sp.org/static-ct-api): `monitoring_url` in log lists. */
  monitoring_url: baseUrl.optional(),
  /** Base64 of its SubjectPublicKeyInfo: `key` in log lists. */
  public_key: z.string().superRefine((text, context) => {
    try {
      logIdOf(text);
    } catch (err) {
      context.addIssue(errorMessage(err));
    }
  }),
  /** Maximum merge delay. */
  mmd_secs: seconds.default(86_400),
  /** Where to begin the first time: logs have a billion entries. */
  start: z.enum(["now", "beginning"]).default("now"),
});

/** Of tproxy's RPC listener, with or without `/prpc`. */
const tproxyUrl = z
  .url({
    protocol: /^https$/,
    error: ({ input }) => (input === undefined ? undefined : "must be an https URL"),
  })
  .transform((text) => new URL(text).origin);

/** `ct-monitor.toml`. Paths are relative to the working directory. */
export const CtMonitorConfig = z
  .strictObject({
    /** One, or each node of a cluster: the keys of all of them are known. */
    tproxy_url: z
      .union([tproxyUrl, z.array(tproxyUrl).min(1)])
      .transform((given) => [...new Set([given].flat())]),
    /** PEM file of the KMS root CA that issued tproxy's RPC certificate; without it the system's roots count. */
    tproxy_ca: z.string().min(1).optional(),
    /** PEM file of the root CA of the KMS that tproxy's guest was started with; `tproxy_ca` unless given. */
    kms_ca: z.string().min(1).optional(),
    /** Certificates for it, for names below it, and for the wildcard above it are looked at. */
    domain,
    state_file: z.string().min(1).default("ct-monitor.state.json"),
    interval_secs: seconds.default(60),
    /** How long an unknown key may take to be told by tproxy: CAs log a certificate before they give it out. */
    grace_secs: z.number().min(0).default(60),
    /** A source that could not be checked for so long is an alert. */
    blind_after_secs: seconds.default(6 * 3600),
    /** Certificates that ended before are not judged; a date, such as when tproxy moved into its CVM. */
    since: z.union([z.iso.date(), z.iso.datetime(), z.date()]).optional(),
    /** Ids of alerts that somebody has looked at. */
    acknowledged: z.array(z.string().regex(/^[0-9a-f]{16}$/, "must be an alert's id")).default([]),
    /** SHA-256 of the app-compose documents that are tproxy: whose quotes over keys count. */
    tproxy_compose_hashes: z
      .array(z.string().regex(/^[0-9a-f]{64}$/, "must be 64 lower-case hex digits"))
      .default([]),
    /** Take keys as tproxy tells them. Whoever runs its host can then add any. */
    insecure_keys_on_trust: z.boolean().default(false),
    crt_sh: z
      .strictObject({ enabled: z.boolean().default(true), url: baseUrl.default("https://crt.sh") })
      .prefault({}),
    log: z.array(CtLogConfig).default([]),
    webhook: z.strictObject({ url: z.url(), secret_file: z.string().min(1).optional() }).optional(),
    metrics: z
      .strictObject({ host: z.string().default("127.0.0.1"), port: z.int().min(0).max(65535) })
      .optional(),
    log_level: z.enum(["debug", "info", "warn", "error"]).default("info"),
    attestation: AttestationConfig.optional(),
  })
  .superRefine((config, context) => {
    const problem = (message: string): void => context.addIssue(message);
    if (!config.crt_sh.enabled && config.log.length === 0)
      problem("there is no source: enable crt_sh or list a log");
    if (new Set(config.log.map(({ url }) => url)).size < config.log.length) problem("a log is listed twice");
    const evidence = config.attestation !== undefined && config.tproxy_compose_hashes.length > 0;
    if (evidence && config.kms_ca === undefined && config.tproxy_ca === undefined) {
      problem("evidence counts of guests of one KMS only: name its root CA in kms_ca (or tproxy_ca)");
    }
    if (
      config.insecure_keys_on_trust &&
      (config.attestation ?? config.tproxy_compose_hashes[0]) !== undefined
    ) {
      problem("insecure_keys_on_trust contradicts [attestation] and tproxy_compose_hashes; say one of them");
    } else if (!config.insecure_keys_on_trust && !evidence) {
      problem(
        "nothing says which evidence makes a key tproxy's: give [attestation] and tproxy_compose_hashes, or, for a " +
          "tproxy on a plain host, insecure_keys_on_trust = true (--insecure-keys-on-trust)",
      );
    }
  });

export type CtMonitorConfig = z.infer<typeof CtMonitorConfig>;
/** The configuration as it is written down. */
export type CtMonitorConfigInput = z.input<typeof CtMonitorConfig>;
