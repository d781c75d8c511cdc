import { isIPv4 } from "node:net";
import { z } from "zod";
import type { VmLimits } from "./vm/limits.js";

const port = z.int().min(1).max(65_535);

const Token = z
  .strictObject({
    /** Stands in the audit log; the role's name unless given. */
    name: z
      .string()
      .regex(
        /^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$/,
        "must be 1 to 64 letters, digits, dots, dashes, underscores or @",
      )
      .optional(),
    /** `viewer` sees everything, `operator` may also change VMs. */
    role: z.enum(["viewer", "operator"]),
    token: z.string().min(16, "must have 16 characters or more").optional(),
    token_file: z.string().min(1).optional(),
  })
  .refine(
    (t) => (t.token === undefined) !== (t.token_file === undefined),
    'needs either "token" or "token_file"',
  );

const PortRange = z
  .strictObject({ protocol: z.enum(["tcp", "udp"]), from: port, to: port })
  .refine((range) => range.from <= range.to, '"from" must not be larger than "to"');

/** Nobody on the network reads along. */
function isPrivateWay({ protocol, hostname }: URL): boolean {
  return protocol === "https:" || /^(127(\.\d+){3}|localhost|\[::1\])$/.test(hostname);
}

const OtherHost = z
  .strictObject({
    name: z
      .string()
      .regex(
        /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/,
        "must be 1 to 63 letters, digits, dots, dashes or underscores",
      ),
    /** As people's browsers and this host reach it. */
    url: z
      .url({ protocol: /^https?$/ })
      .refine((url) => /^https?:\/\/[^/?#@]+\/?$/.test(url), "must be scheme, host and port alone")
      .transform((url) => new URL(url)),
    /** Of a token of role viewer there; without it the dashboard links to the host and does not ask it. */
    token_file: z.string().min(1).optional(),
    /** PEM of the CA of its certificate, or of the certificate itself; the system's CAs unless given. */
    ca_file: z.string().min(1).optional(),
  })
  .refine(({ url, token_file: file }) => file === undefined || isPrivateWay(url), {
    message: "a token goes over https only, or to this machine itself",
  })
  .refine(({ url, ca_file: file }) => file === undefined || url.protocol === "https:", {
    message: "ca_file is for https",
  });

export type OtherHostConfig = z.output<typeof OtherHost>;

/** `teepod.toml`. */
export const TeepodConfig = z
  .strictObject({
    host: z.string().default("127.0.0.1"),
    /** 0 takes any free port. */
    port: z.int().min(0).max(65_535).default(9080),
    /** Directory of guest images, one directory an image. */
    image_path: z.string().min(1),
    /** Directory of the VMs, their disks included. */
    run_path: z.string().min(1),
    qemu_path: z.string().min(1).default("qemu-system-x86_64"),
    log_level: z.enum(["debug", "info", "warn", "error"]).default("info"),

    /** There is no access without a token, not even on loopback: QEMU's user-mode network lets every guest reach it. */
    auth: z.strictObject({ tokens: z.array(Token).min(1, "must have at least one token") }),

    cvm: z.strictObject({
      /** PEM file of the KMS root CA. */
      ca_cert: z.string().min(1),
      tmp_ca_cert: z.string().min(1).optional(),
      tmp_ca_key: z.string().min(1).optional(),
      /** As the guest reaches them. */
      kms_url: z.url({ protocol: /^https$/ }),
      tproxy_url: z.url({ protocol: /^https$/ }),
      /** As this host reaches the KMS; unless given, `kms_url` with 10.0.2.2 (the host as guests see it) replaced. */
      host_kms_url: z.url({ protocol: /^https$/ }).optional(),
      docker_registry: z.string().default(""),
      max_vcpu: z.int().positive().default(64),
      /** MB */
      max_memory: z.int().positive().default(262_144),
      /** GB */
      max_disk_size: z.int().positive().default(100),
      cid_start: z.int().min(3).default(1000),
      cid_pool_size: z.int().positive().default(1000),
      accel: z.enum(["auto", "tdx", "kvm", "tcg"]).default("auto"),
      /** vsock port where the host's quote generation service listens (TDX): Intel's default. Without quotes no TD gets keys. */
      qgs_port: port.default(4050),
      /** Hex of 32 bytes: gives development images a simulated TDX platform. */
      simulator_seed_file: z.string().min(1).optional(),
      /**
       * Public keys for `ssh root@<vm>` into development images, in the format of authorized_keys(5); read at each start
       * of a VM, and need not be there.
       */
      authorized_keys_file: z.string().min(1).optional(),
      /** How long a guest that was asked to shut down may take before it is ended. */
      shutdown_timeout_seconds: z.int().positive().default(60),
      /** Free space of `run_path` below which no VM is made or started. */
      min_free_disk_mb: z.int().nonnegative().default(512),
    }),

    /** Where apps are reached; without it VMs have no `app_url`. */
    gateway: z
      .strictObject({
        base_domain: z.string().min(1),
        port: port.default(443),
        tappd_port: port.default(8090),
      })
      .optional(),

    /** Other teepods whose VMs the dashboard lists. */
    other_hosts: z
      .array(OtherHost)
      .max(32)
      .refine((hosts) => new Set(hosts.map(({ name }) => name)).size === hosts.length, {
        message: "must have another name for each host",
      })
      .default([]),

    port_mapping: z
      .strictObject({
        enabled: z.boolean().default(false),
        address: z.string().refine(isIPv4, "must be an IPv4 address").default("127.0.0.1"),
        ranges: z.array(PortRange).default([]),
      })
      .prefault({}),

    log: z
      .strictObject({
        max_bytes: z
          .int()
          .min(1024)
          .default(4 * 1024 * 1024),
        backups: z.int().min(0).max(100).default(3),
      })
      .prefault({}),
  })
  .superRefine((config, context) => {
    if ((config.cvm.tmp_ca_cert === undefined) !== (config.cvm.tmp_ca_key === undefined)) {
      context.addIssue({
        code: "custom",
        path: ["cvm"],
        message: "tmp_ca_cert and tmp_ca_key belong together",
      });
    }
  });

export type TeepodConfig = z.output<typeof TeepodConfig>;
/** As it stands in the file, or as a test writes it: defaults may be left out. */
export type TeepodConfigInput = z.input<typeof TeepodConfig>;

/** The largest VM this host gives. */
export function vmLimits(config: TeepodConfig): VmLimits {
  const { max_vcpu: maxVcpu, max_memory: maxMemoryMb, max_disk_size: maxDiskGb } = config.cvm;
  return { maxVcpu, maxMemoryMb, maxDiskGb };
}
